// Fills the shell from /api/: the list, a recording, or a month of the calendar.
"use strict";

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function renderList(data) {
  const rows = data.items.map((item) =>
    element("li", {}, element("a", { href: item.path, textContent: item.title }), item.artist ? ` — ${item.artist}` : ""),
  );
  return [
    element("h1", { textContent: data.title }),
    element("ul", {}, ...rows),
    element("a", { href: data.calendar, textContent: "Календарь" }),
  ];
}

function renderRecording(data) {
  const text = data.raw ?? JSON.stringify(data.data);
  const nodes = [element("h1", { textContent: data.title })];
  if (data.artist) nodes.push(element("p", { className: "artist", textContent: data.artist }));
  if (data.audio) nodes.push(element("audio", { controls: true, preload: "none", src: data.audio }));
  nodes.push(element("script", { type: "application/ld+json", textContent: text }));
  nodes.push(element("p", {}, element("a", { href: "/", textContent: "Все записи" })));
  return nodes;
}

function renderMonth(data) {
  return [
    element("h1", { textContent: data.title }),
    element("a", { href: data.next, rel: "next", textContent: "Следующий месяц" }),
  ];
}

async function main() {
  const path = location.pathname;
  const [address, render] =
    path === "/" ? ["/api/list", renderList]
    : path.startsWith("/kalendar/") ? ["/api" + path, renderMonth]
    : ["/api" + path, renderRecording];
  const app = document.getElementById("app");
  const response = await fetch(address);
  if (response.ok) {
    const data = await response.json();
    document.title = `${data.title} — Fonoteka`;
    app.replaceChildren(...render(data));
  } else {
    app.replaceChildren(element("h1", { textContent: "Не найдено" }));
  }
  app.removeAttribute("aria-busy");
}

main();
