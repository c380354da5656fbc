"""How pages look: on a screen of any width, light or dark, with a keyboard, and on paper.

Colours are those of the charts' themes (`jaxcnn.report.style`); text has a contrast of 4.5 or more.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #5b646d; --paper: #ffffff;
  --line: #d9dee3; --tint: #f4f6f8; --blue: #00639c; --red: #b3261e; --green: #007a55;
  --wrong: #b54700; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a3adb6;
  --paper: #15181b; --line: #363c42; --tint: #1e2327; --blue: #7fbdf0; --red: #ff8a80;
  --green: #3ecf9f; --wrong: #f0a545; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 .4rem; padding-top: .7rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
h4 { font-size: .95rem; font-weight: 400; margin: 1.1rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--blue); }
:focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; border-radius: 2px; }
main:focus { outline: none; }
.skip { position: absolute; left: -999rem; background: var(--paper); padding: .5rem 1rem; }
.skip:focus { left: 1rem; top: 1rem; z-index: 1; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.verdict { font-size: 1.15rem; line-height: 1.5; margin: .6rem 0 1rem; }
.intro { color: var(--soft); margin-bottom: .8rem; }
nav { margin: 1.2rem 0 0; font-size: .9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 0;
  padding: 0; }
nav a { text-decoration: none; display: inline-block; padding: .1rem 0; }
nav a:hover { text-decoration: underline; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem 1.4rem;
  margin: .8rem 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .3rem; }
th, td { padding: .25rem 1.1rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; font-size: .9rem; white-space: nowrap;
  vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 7rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.between { color: var(--soft); font-size: .85em; }
.unbroken { white-space: nowrap; }
.wide { overflow-x: auto; margin: .8rem 0; }
.row .wide { margin: 0 1.2rem 0 0; }
.bar { background: var(--blue); height: .8rem; margin-top: .35rem; min-width: 1px;
  border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
td:has(> .bar) { width: 14rem; min-width: 6rem; }
.card { background: var(--tint); border-left: 4px solid var(--blue); border-radius: 4px;
  margin: .6rem 0; padding: .6rem 1rem; max-width: 48rem; overflow-wrap: anywhere; }
.card b { color: var(--blue); margin-right: .3rem; }
.serious { border-color: var(--red); }
.serious b { color: var(--red); }
.advice, figcaption { color: var(--soft); }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--blue); padding: .15rem 0; }
pre { background: var(--tint); border-radius: 4px; padding: .7rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .9rem; margin: .6rem 0; }
code { background: var(--tint); padding: .05rem .3rem; border-radius: 3px; }
pre code { padding: 0; }
img { max-width: 100%; border-radius: 3px; vertical-align: top; }
.pixels { image-rendering: pixelated; }
.chart { overflow-x: auto; margin: .8rem 0; max-width: none; }
.chart img { height: auto; min-width: min(30rem, 160vw); border-radius: 0; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; margin: .8rem 0; }
.row:has(figure) { padding-bottom: .8rem; }
.row + .row { border-top: 1px solid var(--line); padding-top: .9rem; }
figure { margin: 0; }
.row figure { max-width: 14rem; }
.row figure[style] { max-width: 100%; }
.pictures { display: flex; gap: .25rem; align-items: flex-start; width: max-content;
  max-width: 100%; }
.pictures img { min-width: 0; height: auto; }
figcaption { font-size: .85rem; line-height: 1.4; overflow-wrap: anywhere; margin-top: .25rem; }
figcaption .name { font-size: .75rem; }
.right, .wrong { color: var(--ink); }
.right i, .wrong i { font-style: normal; font-weight: 700; color: var(--green); }
.wrong i { color: var(--wrong); }
.pictures:has(+ figcaption .right) { outline: 2px solid var(--green); outline-offset: 1px; }
.pictures:has(+ figcaption .wrong) { outline: 2px dashed var(--wrong); outline-offset: 1px; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media screen and (min-width: 84rem) {
  body.listed { max-width: 80rem; display: grid; column-gap: 3rem;
    grid-template-columns: 13rem minmax(0, 1fr); }
  .listed > * { grid-column: 2; }
  .listed > nav { grid-column: 1; grid-row: 1 / span 3; position: sticky; top: 2rem;
    align-self: start; margin: .4rem 0 0; }
  .listed > nav ul { flex-direction: column; }
}
@media (max-width: 40rem) {
  body { padding-top: 1.2rem; }
  th, td { padding-right: .7rem; }
  .row { gap: .9rem; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip { display: none; }
  h2, h3, h4, caption, .intro { break-after: avoid; }
  tr, figure, .card, .intro { break-inside: avoid; }
  .row:has(figure) { display: block; orphans: 1; widows: 1; }
  .row figure { display: inline-block; vertical-align: top; margin: 0 .8rem .8rem 0; }
  .wide, .chart { overflow: visible; }
  .row .pictures:has(+ figcaption) { outline-offset: -2px; }
  .chart img { min-width: 0; max-height: 20cm; width: auto; }
}
"""
