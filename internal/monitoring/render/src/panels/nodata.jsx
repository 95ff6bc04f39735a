// A panel with nothing to show says so.
import { useTheme2 } from '@grafana/ui';

export function NoData({ panel }) {
  return <Message>{panel.fieldConfig?.defaults?.noValue || 'No data'}</Message>;
}

export function Message({ children }) {
  const { colors, typography } = useTheme2();
  const style = { display: 'grid', placeItems: 'center', height: '100%', color: colors.text.secondary };
  return <div style={{ ...style, fontSize: typography.h5.fontSize }}>{children}</div>;
}
