// The dashboard around its panels: title, variables, time range, rows, and each panel's frame.
import { rangeUtil, renderMarkdown } from '@grafana/data';
import { Icon, PanelChrome, useTheme2 } from '@grafana/ui';
import { useLayoutEffect, useRef } from 'react';
import { Message } from './panels/nodata.jsx';

export const margin = 16;
const note = "Drawn with Grafana's packages, not by Grafana";

export function Page({ dashboard, places, context }) {
  const { colors } = useTheme2();
  const page = useRef();
  useLayoutEffect(() => {
    globalThis.drawnHeight = Math.ceil(page.current.getBoundingClientRect().height);
  }, []);
  const bottom = Math.max(...places.map(({ y, height }) => y + height));
  return (
    <div ref={page} style={{ padding: margin, background: colors.background.canvas }}>
      <Header title={dashboard.title} context={context} />
      <main style={{ position: 'relative', height: bottom }}>
        {places.map(({ x, y, width, height, ...rest }) => (
          <div key={`${x}/${y}`} style={{ position: 'absolute', left: x, top: y, width, height }}>
            {rest.kind ? (
              <Panel {...rest} width={width} height={height} context={context} />
            ) : (
              <Row row={rest.panel} context={context} />
            )}
          </div>
        ))}
      </main>
    </div>
  );
}

function Header({ title, context: { variables, range, timeZone } }) {
  const { colors, typography, spacing } = useTheme2();
  const line = { display: 'flex', flexWrap: 'wrap', gap: spacing(1), alignItems: 'center', marginBottom: spacing(1) };
  return (
    <header>
      <div style={{ ...line, justifyContent: 'space-between' }}>
        <h1 style={{ ...typography.h3, margin: 0 }}>{title}</h1>
        <span style={{ ...typography.bodySmall, color: colors.text.secondary }}>{note}</span>
      </div>
      <div style={{ ...line, marginBottom: spacing(2) }}>
        {variables.shown().map(({ name, label, text }) => (
          <Box key={name} label={label || name}>
            {text}
          </Box>
        ))}
        <span style={{ flexGrow: 1 }} />
        <Box>
          <Icon name="clock-nine" /> {rangeUtil.describeTimeRange({ from: range.from, to: range.to }, timeZone)}{' '}
          {timeZone}
        </Box>
      </div>
    </header>
  );
}

function Box({ label, children }) {
  const { colors, spacing, shape, typography } = useTheme2();
  const border = `1px solid ${colors.border.medium}`;
  const part = { padding: spacing(0, 1), lineHeight: '30px', border, borderRadius: shape.radius.default };
  return (
    <span style={{ display: 'flex', fontSize: typography.bodySmall.fontSize }}>
      {label && (
        <span style={{ ...part, borderRight: 0, background: colors.background.primary, fontWeight: 500 }}>{label}</span>
      )}
      <span style={{ ...part, background: colors.background.canvas }}>{children}</span>
    </span>
  );
}

function Row({ row, context }) {
  const { colors, typography } = useTheme2();
  const count = row.panels?.length ?? 0;
  return (
    <div style={{ ...typography.h5, display: 'flex', alignItems: 'center', gap: 8, height: '100%' }}>
      <Icon name={row.collapsed ? 'angle-right' : 'angle-down'} />
      {context.variables.fill(row.title)}
      {row.collapsed && (
        <span style={{ ...typography.bodySmall, color: colors.text.secondary }}>
          ({count === 1 ? '1 panel' : `${count} panels`})
        </span>
      )}
    </div>
  );
}

function Panel({ panel, kind, missing, frames, width, height, context }) {
  const { Panel: Contents, options } = kind;
  const links = panel.links?.length > 0 && <Icon key="links" name="external-link-alt" style={{ margin: 4 }} />;
  return (
    <PanelChrome
      title={context.variables.fill(panel.title)}
      description={panel.description && renderMarkdown(context.variables.fill(panel.description))}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      titleItems={links}
      width={width}
      height={height}
    >
      {(innerWidth, innerHeight) =>
        missing ? (
          <Message>not rendered here: needs {missing[0].toUpperCase() + missing.slice(1)}</Message>
        ) : (
          <Contents
            {...context}
            panel={panel}
            frames={frames}
            options={{ ...options, ...panel.options }}
            width={innerWidth}
            height={innerHeight}
          />
        )
      }
    </PanelChrome>
  );
}
