// Small charts: the last values as a line.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 24;

/** Values that a chart has, and has room for at least. */
const POINTS = 60;
const LEAST = 12;

function node(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** A line of values, with the space under it filled. It begins at 0, and ends at the largest of them. */
export class Sparkline {
  constructor() {
    this.values = [];
    this.area = node("path", { class: "area" });
    this.line = node("path", { class: "line" });
    this.element = node("svg", {
      class: "spark",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    this.element.append(this.area, this.line);
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > POINTS) this.values.shift();
    this.draw();
  }

  draw() {
    if (this.values.length < 2) return;
    const most = Math.max(...this.values, 1e-9);
    // While there are few, they are drawn wider.
    const room = Math.max(this.values.length, LEAST);
    const step = WIDTH / (room - 1);
    const first = room - this.values.length;
    const points = this.values.map((value, index) => {
      const x = (first + index) * step;
      const y = HEIGHT - 1.5 - (HEIGHT - 4) * (value / most);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M${(first * step).toFixed(1)},${HEIGHT}L${points.join("L")}L${WIDTH},${HEIGHT}Z`);
  }
}
