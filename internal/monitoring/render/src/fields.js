// What turns data into what is shown of it: transformations and field configuration, both as Grafana's @grafana/data does them.
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  displayNameOverrideProcessor,
  FieldConfigOptionsRegistry,
  fieldMatchers,
  FieldType,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

standardTransformersRegistry.setInit(() => {
  const byId = new Map(Object.values(standardTransformers).map((transformer) => [transformer.id, transformer])); // some have two names
  return [...byId.values()].map((transformer) => ({ ...transformer, transformation: async () => transformer }));
});

/** The properties that every kind of panel knows, with what their values go through. Custom ones are a panel's own. */
const standard = {
  displayName: { process: displayNameOverrideProcessor },
  unit: {},
  min: { process: numberOverrideProcessor, shouldApply: isNumber },
  max: { process: numberOverrideProcessor, shouldApply: isNumber },
  fieldMinMax: { shouldApply: isNumber },
  decimals: { process: numberOverrideProcessor, shouldApply: isNumber },
  noValue: {},
  links: {},
  color: {},
  thresholds: {},
  mappings: { shouldApply: (field) => field.type !== FieldType.time },
  description: {},
  filterable: {},
};

function isNumber(field) {
  return field.type === FieldType.number;
}

/** transformed applies a panel's transformations. Grafana skips those that it does not know; here they are an error. */
export async function transformed(frames, transformations = [], variables) {
  const active = transformations.filter(({ disabled }) => !disabled);
  for (const { id } of active) {
    if (!standardTransformersRegistry.getIfExists(id)) throw new Error(`the transformation ${id} is unknown`);
  }
  return lastValueFrom(transformDataFrame(active, frames, { interpolate: (text) => variables.fill(text) }));
}

/** Thresholds where a dashboard names none are Grafana's. */
const thresholds = {
  mode: 'absolute',
  steps: [
    { value: null, color: 'green' },
    { value: 80, color: 'red' },
  ],
};

/** configured gives each field its configuration and what formats its values. A kind of panel has its own defaults. */
export function configured(frames, { defaults, overrides = [] } = {}, kind, { theme, timeZone, variables }) {
  for (const { matcher } of overrides) {
    if (!fieldMatchers.getIfExists(matcher.id)) throw new Error(`the matcher ${matcher.id} is unknown`);
  }
  const custom = { ...kind.custom, ...defaults?.custom };
  const fieldConfig = {
    defaults: { thresholds, color: { mode: kind.color ?? 'thresholds' }, ...defaults, custom },
    overrides,
  };
  const result = applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: registry(fieldConfig),
    replaceVariables: (text) => variables.fill(text),
    theme,
    timeZone,
  });
  cacheFieldDisplayNames(result); // the table's headings are read from there
  return result;
}

/** registry knows the standard properties, and those custom ones that the configuration has. */
function registry({ defaults, overrides }) {
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  for (const id of overridden) {
    if (!id.startsWith('custom.') && !standard[id]) throw new Error(`the property ${id} is unknown`);
  }
  const ofDefaults = Object.keys(defaults.custom).map((name) => `custom.${name}`);
  const ids = new Set([...Object.keys(standard), ...ofDefaults, ...overridden]);
  return new FieldConfigOptionsRegistry(() => [...ids].map(property));
}

function property(id) {
  const isCustom = id.startsWith('custom.');
  return {
    id,
    name: id,
    path: isCustom ? id.slice('custom.'.length) : id,
    isCustom,
    process: identityOverrideProcessor,
    shouldApply: () => true,
    ...standard[id],
  };
}
