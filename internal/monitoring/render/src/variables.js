// The dashboard's variables, and texts and queries with them filled in.

const reference = /\$(\w+)|\$\{(\w+)(?:\.([^:}]+))?(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]/g;

/** resolve gives each variable of a dashboard its value: what is given, or else what the dashboard has saved. */
export async function resolve(dashboard, given, prometheus, range) {
  const variables = new Variables();
  for (const variable of dashboard.templating?.list ?? []) {
    variables.add(variable, given[variable.name], await offered(variable, variables, prometheus, range));
  }
  for (const name of Object.keys(given)) {
    if (!variables.has(name)) throw new Error(`the dashboard has no variable ${name}`);
  }
  return variables;
}

/** offered lists the values from which a variable is chosen. */
async function offered(variable, variables, prometheus, range) {
  switch (variable.type) {
    case 'query':
      return labelValues(variable, variables, prometheus, range);
    case 'custom':
    case 'interval':
      return variable.query.split(',').map((value) => value.trim());
    case 'constant':
    case 'textbox':
    case 'datasource':
      return [variable.query];
  }
  throw new Error(`variable ${variable.name}: type ${variable.type} is unknown`);
}

async function labelValues(variable, variables, prometheus, range) {
  const text = typeof variable.query === 'string' ? variable.query : variable.query.query;
  const parts = text.match(/^label_values\((?:(.*),\s*)?(\w+)\s*\)$/);
  if (!parts) throw new Error(`variable ${variable.name}: ${text} is no label_values(selector, label)`);
  const values = await prometheus.labelValues(parts[2], parts[1] && variables.fill(parts[1], promql), range);
  const regex = variable.regex && new RegExp(variable.regex.replace(/^\/(.*)\/\w*$/, '$1'));
  return values.filter((value) => !regex || regex.test(value)).sort();
}

export class Variables {
  #byName = new Map();

  add(variable, given, values) {
    const saved = [variable.current?.value ?? []].flat().filter((value) => value !== '');
    const chosen = given ?? (saved.length ? saved : [variable.includeAll ? '$__all' : (values[0] ?? '')]);
    const all = chosen.includes('$__all') || (chosen.includes('All') && variable.includeAll);
    this.#byName.set(variable.name, {
      ...variable,
      many: variable.multi || variable.includeAll,
      raw: all ? variable.allValue : undefined,
      values: all ? values : chosen,
      text: all ? 'All' : given ? chosen.join(' + ') : [variable.current?.text ?? chosen].flat().join(' + '),
    });
  }

  has(name) {
    return this.#byName.has(name);
  }

  /** shown lists the variables that Grafana shows above the panels, with their texts. */
  shown() {
    return [...this.#byName.values()].filter((v) => (v.hide ?? 0) !== 2);
  }

  /**
   * fill replaces variables in a text. A format tells how a variable's values become text; those in the text itself, as in
   * ${name:csv}, go first. Variables in extra, by name, have one value. What is not known stays as it is.
   */
  fill(text, format = display, extra = {}) {
    return text?.replace(reference, (whole, plain, braced, field, formatName, bracketed, oldName) => {
      const name = plain ?? braced ?? bracketed;
      if (name in extra && !field) return extra[name];
      const variable = this.#byName.get(name);
      if (!variable || field) return whole;
      const own = formatName ?? oldName;
      if (own && !formats[own]) throw new Error(`${whole}: this format is unknown`);
      return (formats[own] ?? format)(variable);
    });
  }
}

const escaped = (value) => value.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&');

/** promql is for queries: several values are alternatives of a regular expression. */
export function promql({ raw, values, many }) {
  if (raw !== undefined && raw !== '') return raw;
  if (!many) return values[0].replace(/\\/g, '\\\\').replace(/'/g, "\\'");
  return values.length === 1 ? escaped(values[0]) : `(${values.map(escaped).join('|')})`;
}

/** display is for people. */
const display = ({ text }) => text;

const formats = {
  text: display,
  raw: ({ raw, values }) => raw ?? values.join(','),
  csv: ({ raw, values }) => raw ?? values.join(','),
  pipe: ({ raw, values }) => raw ?? values.join('|'),
  regex: ({ raw, values }) => raw ?? `(${values.map((v) => v.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&')).join('|')})`,
};
