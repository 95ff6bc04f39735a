// Single values: Grafana's BigValue and BarGauge, laid out by its VizRepeater, and a gauge that is drawn here.
import { formattedValueToString, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, useTheme2, VizRepeater } from '@grafana/ui';
import { Arc } from './gauge.jsx';

export function Stats(props) {
  const { options, range } = props;
  const theme = useTheme2();
  return (
    <Repeated {...props} sparkline={options.graphMode !== 'none'} itemSpacing={3} autoGrid>
      {({ value, width, height, count, alignmentFactors }) => (
        <BigValue
          value={value.display}
          sparkline={value.sparkline && { ...value.sparkline, timeRange: range }}
          count={count}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={options.textMode}
          text={options.text}
          disableWideLayout={!options.wideLayout}
          alignmentFactors={alignmentFactors}
          width={width}
          height={height}
          theme={theme}
        />
      )}
    </Repeated>
  );
}

export function BarGauges(props) {
  const { options } = props;
  const theme = useTheme2();
  return (
    <Repeated
      {...props}
      itemSpacing={10}
      minVizHeight={options.minVizHeight ?? 16}
      maxVizHeight={options.maxVizHeight ?? 300}
    >
      {({ value, width, height, orientation, alignmentFactors }) => (
        <BarGauge
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          orientation={orientation}
          displayMode={options.displayMode}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
          showUnfilled={options.showUnfilled}
          text={options.text}
          alignmentFactors={alignmentFactors}
          width={width}
          height={height}
          theme={theme}
        />
      )}
    </Repeated>
  );
}

export function Gauges(props) {
  return (
    <Repeated {...props} autoGrid>
      {({ value, width, height, count }) => (
        <Arc
          field={value.field}
          value={value.display}
          text={formattedValueToString(value.display)}
          title={count > 1 ? value.display.title : undefined}
          marked={props.options.showThresholdMarkers}
          width={width}
          height={height}
        />
      )}
    </Repeated>
  );
}

/** Repeated draws each value of a panel with what it is given. */
function Repeated({ panel, frames, options, width, height, variables, timeZone, sparkline, children, ...rest }) {
  const theme = useTheme2();
  const values = () =>
    getFieldDisplayValues({
      fieldConfig: panel.fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => variables.fill(text),
      theme,
      data: frames,
      sparkline,
      timeZone,
    });
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={children}
      source={frames}
      renderCounter={1}
      orientation={options.orientation}
      width={width}
      height={height}
      {...rest}
    />
  );
}
