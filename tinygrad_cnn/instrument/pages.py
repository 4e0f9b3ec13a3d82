"""HTML pages with everything in them: one look, on light and on dark screens."""

import html

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --quiet: #616e7c; --line: #e4e7eb;
  --accent: #0072b2; --paper: #fff; --ground: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ee; --quiet: #9aa7b4; --line: #303a45; --accent: #6cb8e6;
    --paper: #171d25; --ground: #0f141a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 1.2rem; margin: 0 0 4px; }
p { margin: 4px 0 12px; max-width: 75ch; }
.quiet { color: var(--quiet); }
nav { margin: 10px 0 18px; font-size: .92rem; }
nav a { color: var(--accent); text-decoration: none; margin-right: 14px; white-space: nowrap; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 18px 20px; margin: 0 0 18px; }
.cards { display: grid; gap: 10px; margin: 0 0 18px;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); }
.card { background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; padding: 10px 12px; }
.card b { display: block; font-size: 1.3rem; font-weight: 600; overflow-wrap: anywhere; }
.card span { color: var(--quiet); font-size: .85rem; }
.pair { display: flex; flex-wrap: wrap; gap: 12px 26px; align-items: flex-start; }
.pair > * { flex: 1 1 380px; min-width: min(320px, 100%); }
.pair > .scroll { flex: 0 1 auto; max-width: 100%; }
.pair > .scroll.wrapped { flex: 1 1 380px; }
figure { margin: 10px 0; }
figure img { max-width: 100%; height: auto; display: block; margin: 0 auto; background: #fff;
  border-radius: 6px; }
figure picture img { background: none; }
@media (prefers-color-scheme: dark) { img.plot { filter: invert(.91) hue-rotate(180deg); } }
figcaption { color: var(--quiet); font-size: .88rem; margin-top: 4px; }
.scroll { overflow-x: auto; }
caption { text-align: left; font-weight: 600; padding: 0 0 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 6px 0 12px; }
dt { color: var(--quiet); }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .9rem; margin: 6px 0 12px; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
td { white-space: nowrap; }
td.share { min-width: 110px; padding-left: 8px; background: linear-gradient(90deg,
  color-mix(in srgb, var(--accent) 22%, transparent) var(--share), transparent var(--share))
  no-repeat 0 50% / calc(100% - 12px) 70%; }
table.wrap td { white-space: normal; overflow-wrap: anywhere; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 6px;
  padding: 10px 12px; overflow-x: auto; margin: 6px 0;
  font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; color: var(--accent); }
@media print { body { background: #fff; }  section, .card { break-inside: avoid; } }
"""


def document(title: str, body: str) -> str:
    """A whole page. ``title`` is escaped, ``body`` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}\n</main></body></html>\n"
    )
