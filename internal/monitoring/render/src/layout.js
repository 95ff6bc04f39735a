// Where panels stand: Grafana's grid of 24 columns, in pixels.

const cell = 30;
const gap = 8;
const columns = 24;

/**
 * place lists what is to be drawn, each {panel, x, y, width, height} in pixels. The panels of a collapsed row are drawn only
 * when everything is to be expanded.
 */
export function place(panels, width, expand) {
  const column = (width - (columns - 1) * gap) / columns;
  return (expand ? opened(panels) : panels).map((panel) => ({
    panel,
    x: panel.gridPos.x * (column + gap),
    y: panel.gridPos.y * (cell + gap),
    width: Math.round(panel.gridPos.w * (column + gap) - gap),
    height: panel.gridPos.h * (cell + gap) - gap,
  }));
}

/** opened opens every collapsed row, and moves what follows down by the room that takes. */
function opened(panels) {
  const list = [];
  let room = 0;
  for (const original of panels) {
    const panel = down(original, room);
    if (panel.type !== 'row' || !panel.panels?.length) {
      list.push(panel);
      continue;
    }
    const top = panel.gridPos.y + 1;
    const shift = top - Math.min(...panel.panels.map((p) => p.gridPos.y));
    const inside = panel.panels.map((p) => down(p, shift));
    room += Math.max(...inside.map((p) => p.gridPos.y + p.gridPos.h)) - top;
    list.push({ ...panel, collapsed: false, panels: [] }, ...inside);
  }
  return list;
}

function down(panel, rows) {
  return { ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y + rows } };
}
