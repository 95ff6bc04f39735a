// Alerts of Prometheus's rules, as they were at the end of the shown time.
import { dateTime } from '@grafana/data';
import { Icon, useTheme2 } from '@grafana/ui';
import { Message } from './nodata.jsx';

// Alerts with their states as labels, and the times since when their conditions hold as values.
const query = 'ALERTS * ignoring (alertstate) group_left () ALERTS_FOR_STATE';

/** alerts asks Prometheus for its alerts, those that fire first, and the newest of them first. */
export async function alerts(panel, { prometheus, range }) {
  const { result } = await prometheus.instant(query, range.to);
  const wanted = panel.options?.stateFilter ?? { firing: true, pending: true };
  return result
    .map(({ metric, value }) => ({ ...metric, since: Number(value[1]) * 1000 }))
    .filter(({ alertstate }) => wanted[alertstate])
    .sort((a, b) => a.alertstate.localeCompare(b.alertstate) || b.since - a.since);
}

export function AlertList({ frames, options, range }) {
  if (!frames.length) return <Message>No alerts matching filters</Message>;
  return (
    <ol style={{ listStyle: 'none', overflow: 'hidden', height: '100%' }}>
      {frames.slice(0, options.maxItems).map((alert, i) => (
        <Alert key={i} alert={alert} until={range.to.valueOf()} />
      ))}
    </ol>
  );
}

function Alert({ alert: { alertname, alertstate, since, ...labels }, until }) {
  const { colors, spacing, typography } = useTheme2();
  const color = alertstate === 'firing' ? colors.error.text : colors.warning.text;
  const list = Object.entries(labels);
  const row = { display: 'flex', gap: spacing(1.5), padding: spacing(0.75, 1), marginBottom: spacing(0.5) };
  return (
    <li style={{ ...row, background: colors.background.secondary, alignItems: 'center' }}>
      <Icon name={alertstate === 'firing' ? 'heart-break' : 'clock-nine'} style={{ color }} />
      <div>
        <div style={{ fontWeight: typography.fontWeightMedium }}>{alertname}</div>
        <div style={{ fontSize: typography.bodySmall.fontSize, color: colors.text.secondary }}>
          <span style={{ color }}>{alertstate}</span> for {dateTime(since).from(until, true)}
          {list.map(([name, value]) => ` · ${name}=${value}`)}
        </div>
      </div>
    </li>
  );
}
