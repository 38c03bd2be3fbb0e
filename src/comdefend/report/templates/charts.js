// Draws every chart of the page where its picture stands; a picture without its chart stays.
const ENTRY = 230, PANEL = 330, MARGIN = 140, NARROW = 480;
const themes = JSON.parse(document.getElementById("themes").textContent);
const shade = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";

async function draw(drawing) {
  const spec = JSON.parse(drawing.querySelector("script").textContent);
  const style = getComputedStyle(drawing);
  const width = drawing.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const config = structuredClone(themes[shade]);
  config.padding = 4;
  config.legend.columns = Math.max(1, Math.floor(width / ENTRY));
  if (width < NARROW) config.axisYBand = { labelLimit: 80 };
  spec.columns = Math.max(1, Math.min(spec.columns, Math.floor(width / PANEL)));
  for (const panel of spec.concat) if (panel.width > width - MARGIN) panel.width = width - MARGIN;
  const chart = document.createElement("div");
  drawing.append(chart);
  // Without `ast`, Vega would make functions of texts, which the page's policy forbids.
  await vegaEmbed(chart, spec, {
    mode: "vega-lite", ast: true, actions: false, renderer: "svg", config, tooltip: { theme: shade },
  });
  drawing.classList.add("drawn");
}

for (const drawing of document.querySelectorAll(".drawing")) draw(drawing).catch(console.error);
