// A gauge. The one of Grafana is in none of its packages, so it is drawn here after its looks.
import { useTheme2 } from '@grafana/ui';

const start = 0.9 * Math.PI;
const sweep = 1.2 * Math.PI;

/** Arc shows a value between a field's min and max as a part of an arc, with the thresholds around it. */
export function Arc({ field, value, text, title, marked, width, height }) {
  const theme = useTheme2();
  const { min = 0, max = 100 } = field;
  const labelHeight = title ? 20 : 0;
  const radius = Math.min(width / 2, (height - labelHeight) / 1.35) * 0.95;
  const thickness = radius * 0.22;
  const center = [width / 2, radius * 1.03];
  const part = Math.min(1, Math.max(0, (value.numeric - min) / (max - min))) || 0;
  const ring = (from, to, r, w, color, key) => (
    <path key={key} d={arc(center, r, from, to)} stroke={color} strokeWidth={w} fill="none" />
  );
  const inner = radius * 0.93 - thickness / 2;
  return (
    <svg width={width} height={height} style={{ fontFamily: theme.typography.fontFamily }}>
      {ring(0, 1, inner, thickness, theme.colors.background.secondary)}
      {part > 0 && ring(0, part, inner, thickness, value.color)}
      {marked &&
        bands(field, theme).map(({ from, to, color }) => ring(from, to, radius * 0.97, radius * 0.04, color, from))}
      <text
        x={center[0]}
        y={center[1]}
        fill={value.color}
        fontSize={Math.min(radius * 0.45, (radius * 2) / text.length)}
        fontWeight={500}
        textAnchor="middle"
      >
        {text}
      </text>
      <text x={center[0]} y={height - 5} fill={theme.colors.text.primary} fontSize={14} textAnchor="middle">
        {title}
      </text>
    </svg>
  );
}

/** bands are the parts of the arc between thresholds, from 0 to 1. */
function bands({ min = 0, max = 100, thresholds }, theme) {
  const { mode, steps = [] } = thresholds ?? {};
  const share = (value) => Math.min(1, Math.max(0, mode === 'percentage' ? value / 100 : (value - min) / (max - min)));
  const starts = steps.map((step) => share(step.value ?? -Infinity));
  return starts
    .map((from, i) => ({ from, to: starts[i + 1] ?? 1, color: theme.visualization.getColorByName(steps[i].color) }))
    .filter(({ from, to }) => to > from);
}

function arc([cx, cy], radius, from, to) {
  const point = (share) => {
    const angle = start + share * sweep;
    return `${cx + radius * Math.cos(angle)} ${cy + radius * Math.sin(angle)}`;
  };
  return `M ${point(from)} A ${radius} ${radius} 0 ${(to - from) * sweep > Math.PI ? 1 : 0} 1 ${point(to)}`;
}
