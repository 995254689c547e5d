"use strict";
// Tables are sorted by a click on a column's head, and a figure is saved as PNG. Without this script
// the page shows the same figures.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.sort;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");  // what is not known is last
        const [m, n] = [Number(x), Number(y)];
        const order = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y, "en", {numeric: true}) : m - n;
        return up ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

const SCALE = 3;
for (const figure of document.querySelectorAll("figure[data-file]")) {
  const chart = figure.querySelector("svg"), place = figure.querySelector(".saves");
  const button = document.createElement("button");
  button.className = "save";
  button.textContent = "PNG";
  button.setAttribute("aria-label", `Save as PNG: ${figure.dataset.file}`);
  place.append(" ", button);
  button.addEventListener("click", () => {
    const copy = chart.cloneNode(true), box = chart.viewBox.baseVal;
    const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
    style.textContent = document.querySelector("style").textContent
      + "svg.chart { width: auto; max-width: none; font-family: sans-serif; }";
    copy.prepend(style);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", SCALE * box.width);
    copy.setAttribute("height", SCALE * box.height);
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      canvas.width = SCALE * box.width;
      canvas.height = SCALE * box.height;
      const pen = canvas.getContext("2d");
      pen.fillStyle = getComputedStyle(figure.closest("section")).backgroundColor;
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, 0, 0);
      const link = document.createElement("a");
      link.download = `${figure.dataset.file}.png`;
      link.href = canvas.toDataURL("image/png");
      link.click();
    });
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
  });
}
