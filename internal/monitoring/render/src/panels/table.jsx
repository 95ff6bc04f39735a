// Tables, by Grafana's TableNG, and text.
import { renderTextPanelMarkdown } from '@grafana/data';
import { TableNG } from '@grafana/ui/unstable';
import { NoData } from './nodata.jsx';

export function Table({ panel, frames, options, width, height, range }) {
  const frame = frames[options.frameIndex] ?? frames[0];
  if (!frame?.length) return <NoData panel={panel} />;
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      noHeader={!options.showHeader}
      showTypeIcons={options.showTypeIcons}
      sortBy={options.sortBy}
      cellHeight={options.cellHeight}
      fieldConfig={panel.fieldConfig}
      timeRange={range}
      structureRev={1}
      enableVirtualization={false}
    />
  );
}

export function Text({ options, variables }) {
  const content = variables.fill(options.content);
  const html = options.mode === 'markdown' ? renderTextPanelMarkdown(content) : content;
  if (options.mode === 'code') return <pre>{content}</pre>;
  return <div className="markdown-html" dangerouslySetInnerHTML={{ __html: html }} />;
}
