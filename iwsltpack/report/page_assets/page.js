"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 20, SVG = "http://www.w3.org/2000/svg";
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#999999", "#f0e442"];
  const byId = (id) => document.getElementById(id);

  // Text only ever enters the page as text: nothing here parses HTML.
  function make(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function draw(name, attributes = {}, ...children) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const figure = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const grouped = (bytes) => String(bytes).replace(/\B(?=(\d{3})+$)/g, ",");

  /* ---------- the table ---------- */

  function summary(table, number) {
    const body = make("tbody");
    const rows = table.rows.map((row, index) => make("tr", { "data-row": index },
      make("td", { class: "figure" }, String(index + 1)),
      ...row.cells.map((cell, column) => make("td", {
        class: [table.columns[column].figures ? "figure" : "", cell.best ? "best" : ""].join(" ").trim() || null,
      }, cell.text))));
    body.append(...rows);
    const headings = [{ heading: "#", figures: true }, ...table.columns];
    const value = (index, column) => (column === 0 ? index : table.rows[index].cells[column - 1].value);
    let sorted = { column: 0, descending: false };
    function sort(column) {
      const descending = sorted.column === column ? !sorted.descending : false;
      sorted = { column, descending };
      const order = table.rows.map((_, index) => index).sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        const less = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
        return (descending ? -less : less) || a - b;
      });
      body.append(...order.map((index) => rows[index]));
      cells.forEach((cell, index) => {
        if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else cell.removeAttribute("aria-sort");
      });
    }
    const cells = headings.map((heading, column) => make("th", {
      scope: "col", class: heading.figures ? "figure" : null, "aria-sort": column === 0 ? "ascending" : null,
    }, make("button", { type: "button", onclick: () => sort(column) }, heading.heading)));
    return { rows, node: make("div", { class: "scroll" }, make("table", { class: "summary", id: `summary-${number}` },
      make("thead", {}, make("tr", {}, ...cells)), body)) };
  }

  /* ---------- the graph ---------- */

  function frontier(points) {
    const kept = [];
    let best = -Infinity;
    for (const point of [...points].sort((a, b) => a.size - b.size || b.gain - a.gain)) {
      const last = kept[kept.length - 1];
      if (point.gain > best || (last && point.gain === last.gain && point.size === last.size)) {
        kept.push(point);
        best = point.gain;
      }
    }
    return kept;
  }

  function ticks(low, high) {
    const rough = (high - low) / 6 || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (String(step / power).includes(".") ? 1 : 0));
    return found.map((t) => ({ at: t, text: t.toFixed(Math.min(digits, 6)) }));
  }

  const SHAPES = {
    frontier: (x, y) => draw("circle", { cx: x, cy: y, r: 6, class: "frontier" }),
    dominated: (x, y) => draw("rect", { x: x - 5.5, y: y - 5.5, width: 11, height: 11, class: "dominated" }),
    odd: (x, y) => draw("path", { d: `M${x} ${y - 7.5}L${x + 7.5} ${y}L${x} ${y + 7.5}L${x - 7.5} ${y}Z`, class: "odd" }),
  };

  function pointsOf(table, metric, measure) {
    const sign = table.metrics.find((m) => m.key === metric).lower ? -1 : 1;
    return table.rows.map((row, index) => {
      const by = measure === "own" ? row.placedBy : measure;
      const quality = row.compared[metric], size = by ? row.sizes[by] : undefined;
      if (quality === undefined || size === undefined) return null;
      return { index, row, quality, gain: sign * quality, size, odd: measure === "own" && by !== table.measure, by };
    }).filter(Boolean);
  }

  function graph(table, rows) {
    if (!table.metric) return null;
    const tip = make("div", { class: "tip", hidden: true, role: "status" });
    const holder = make("div"), box = make("div", { class: "graph" });
    const mixed = table.rows.some((row) => row.placedBy && row.placedBy !== table.measure);
    const metric = make("select", {}, ...table.metrics.map((m) => make("option", { value: m.key }, m.title)));
    metric.value = table.metric;
    const measures = [["own", mixed ? `${table.measureTitles[table.measure]}, other where unknown` : table.measureTitles[table.measure]],
      ...Object.entries(table.measureTitles).filter(([key]) => mixed || key !== table.measure)];
    const measure = make("select", {}, ...measures.map(([key, title]) => make("option", { value: key }, title)));
    const key = make("ul", { class: "key" });
    const light = (index, on) => rows[index].classList.toggle("lit", on);

    function show(point, x, y) {
      light(point.index, true);
      const title = table.metrics.find((m) => m.key === metric.value).title;
      tip.replaceChildren(make("b", {}, `${point.index + 1}. ${point.row.title}`), make("br"),
        `${title} ${point.quality}`, make("br"),
        `${grouped(point.size)} bytes (${table.measureTitles[point.by]})`);
      tip.hidden = false;
      const scale = holder.clientWidth / 720;
      tip.style.left = `${Math.min(x * scale + 12, Math.max(0, holder.clientWidth - 230))}px`;
      tip.style.top = `${holder.offsetTop + y * scale + 14}px`;
    }
    function hide(point) { light(point.index, false); tip.hidden = true; }

    function redraw() {
      const points = pointsOf(table, metric.value, measure.value), chosen = table.metrics.find((m) => m.key === metric.value);
      const W = 720, H = 430, L = 66, R = 24, T = 18, B = 52;
      const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img",
        "aria-label": `${metric.selectedOptions[0].text} against size of ${points.length} systems` });
      const edge = points.filter((p) => frontier(points).includes(p));
      if (points.length) {
        const pad = (low, high) => { const d = (high - low) || Math.abs(high) * 0.1 || 1; return [low - 0.1 * d, high + 0.12 * d]; };
        const sizes = points.map((p) => p.size / table.divisor), qualities = points.map((p) => p.quality);
        const [x0, x1] = pad(Math.min(...sizes), Math.max(...sizes)), [low, high] = pad(Math.min(...qualities), Math.max(...qualities));
        const y0 = Math.max(low, chosen.bounds[0] ?? low), y1 = Math.min(high, chosen.bounds[1] ?? high);
        const X = (v) => L + (W - L - R) * (v - x0) / (x1 - x0), Y = (v) => H - B - (H - T - B) * (v - y0) / (y1 - y0);
        for (const t of ticks(x0, x1)) svg.append(draw("line", { x1: X(t.at), x2: X(t.at), y1: T, y2: H - B, class: "grid" }),
          draw("text", { x: X(t.at), y: H - B + 18, "text-anchor": "middle" }, t.text));
        for (const t of ticks(y0, y1)) svg.append(draw("line", { x1: L, x2: W - R, y1: Y(t.at), y2: Y(t.at), class: "grid" }),
          draw("text", { x: L - 8, y: Y(t.at) + 4, "text-anchor": "end" }, t.text));
        svg.append(draw("path", { d: `M${L} ${T}V${H - B}H${W - R}`, class: "axis", fill: "none" }));
        const line = [...edge].sort((a, b) => a.size - b.size).map((p, i) => {
          const [x, y] = [X(p.size / table.divisor), Y(p.quality)];
          return i ? `H${x}V${y}` : `M${x} ${y}`;
        }).join("");
        svg.append(draw("path", { d: line, class: "step" }));
        points.forEach((p) => {
          const [x, y] = [X(p.size / table.divisor), Y(p.quality)];
          const kind = p.odd ? "odd" : edge.includes(p) ? "frontier" : "dominated";
          const near = points.some((q) => q !== p && Math.abs(X(q.size / table.divisor) - x) < 24 && Y(q.quality) <= y + 1 && y - Y(q.quality) < 22 && q.index < p.index);
          const g = draw("g", { class: "point", tabindex: "0", "data-row": p.index, "data-kind": kind,
            "aria-label": `${p.row.title}: ${p.quality} at ${grouped(p.size)} bytes, ${kind === "odd" ? "sized by another measure" : kind}` },
          SHAPES[kind](x, y), draw("text", { x, y: near ? y + 22 : y - 11, "text-anchor": "middle", class: "number halo" }, String(p.index + 1)),
          draw("circle", { cx: x, cy: y, r: 15, class: "near" }));
          for (const event of ["mouseenter", "focus"]) g.addEventListener(event, () => show(p, x, y));
          for (const event of ["mouseleave", "blur"]) g.addEventListener(event, () => hide(p));
          svg.append(g);
        });
      } else svg.append(draw("text", { x: W / 2, y: H / 2, "text-anchor": "middle" }, "no system has both a comparable score and this size"));
      const by = measure.value === "own" ? table.measure : measure.value;
      svg.append(draw("text", { x: (L + W - R) / 2, y: H - 10, "text-anchor": "middle" }, `Size, ${table.measureTitles[by]} [${table.unit}] (smaller is better)`),
        draw("text", { x: 16, y: (T + H - B) / 2, "text-anchor": "middle", transform: `rotate(-90 16 ${(T + H - B) / 2})` }, `${chosen.title} (${chosen.lower ? "lower" : "higher"} is better)`));
      holder.replaceChildren(svg);
      const kinds = [["frontier", "on the Pareto frontier"], ["dominated", "dominated"], ["odd", "sized by another measure"]];
      key.replaceChildren(...kinds.filter(([kind]) => svg.querySelector(`[data-kind=${kind}]`)).map(([kind, text]) =>
        make("li", {}, draw("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, SHAPES[kind](9, 9)), text)));
    }
    metric.addEventListener("change", redraw);
    measure.addEventListener("change", redraw);
    redraw();
    const controls = make("div", { class: "controls graph-controls" }, make("label", {}, "Score", metric), make("label", {}, "Size", measure));
    controls.style.position = "static";
    box.append(make("h3", {}, "Quality and size"), controls, holder, key, tip);
    return box;
  }

  /* ---------- where the bytes are ---------- */

  function breakdown(table) {
    const known = table.rows.map((row, index) => ({ row, index })).filter(({ row }) => row.components);
    if (!known.length) return null;
    const names = table.componentNames;
    const total = (row) => Object.values(row.components).reduce((a, b) => a + b, 0);
    const most = Math.max(...known.map(({ row }) => total(row)));
    const W = 620, L = 34, H = 34;
    const svg = draw("svg", { viewBox: `0 0 ${W} ${known.length * H + 6}`, role: "img", "aria-label": "bytes of each component, system by system" });
    known.forEach(({ row, index }, line) => {
      let x = L;
      const y = line * H + 6;
      svg.append(draw("text", { x: L - 8, y: y + 17, "text-anchor": "end", class: "number" }, String(index + 1)));
      names.forEach((name, k) => {
        const bytes = row.components[name] || 0, width = (W - L - 90) * bytes / most;
        if (!bytes) return;
        svg.append(draw("rect", { x, y, width: Math.max(width, 0.5), height: 24, fill: COLOURS[k % COLOURS.length], stroke: "#fff", "stroke-width": 1 },
          draw("title", {}, `${row.title}: ${name} ${grouped(bytes)} bytes`)));
        if (width > 18) svg.append(draw("text", { x: x + width / 2, y: y + 16, "text-anchor": "middle", class: "halo" }, String.fromCharCode(97 + k)));
        x += width;
      });
      svg.append(draw("text", { x: x + 6, y: y + 17 }, `${(total(row) / table.divisor).toFixed(3)} ${table.unit}`));
    });
    const key = make("ul", { class: "key" }, ...names.map((name, k) => make("li", {},
      draw("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, draw("rect", { x: 1, y: 1, width: 16, height: 16, fill: COLOURS[k % COLOURS.length] })),
      `${String.fromCharCode(97 + k)} ${name}`)));
    const figures = make("details", {}, make("summary", {}, "Exact bytes"), make("div", { class: "scroll" }, make("table", {},
      make("thead", {}, make("tr", {}, ...["#", ...names, "whole folder"].map((text) => make("th", { class: "figure", scope: "col" }, text)))),
      make("tbody", {}, ...known.map(({ row, index }) => make("tr", {}, make("td", { class: "figure" }, String(index + 1)),
        ...names.map((name) => make("td", { class: "figure" }, grouped(row.components[name] || 0))),
        make("td", { class: "figure" }, grouped(total(row)))))))));
    return make("div", { class: "bars" }, make("h3", {}, "Where the bytes are"), svg, key, figures);
  }

  /* ---------- differences between two texts ---------- */

  const pieces = (text) => text.match(/[A-Za-z0-9\u00c0-\u024f]+|\s+|[\s\S]/gu) || [];

  function difference(before, after) {
    // Where one text lies whole inside the other, what is around it is the difference.
    for (const [outer, inner, kind] of [[before, after, "removed"], [after, before, "added"]]) {
      const at = inner ? outer.lastIndexOf(inner) : -1;
      if (at >= 0) {
        return [{ kind, text: outer.slice(0, at) }, { kind: "kept", text: inner }, { kind, text: outer.slice(at + inner.length) }]
          .filter((part) => part.text);
      }
    }
    const a = pieces(before), b = pieces(after);
    let head = 0, tail = 0;
    while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
    while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
    const x = a.slice(head, a.length - tail), y = b.slice(head, b.length - tail), parts = [];
    const add = (kind, text) => {
      const last = parts[parts.length - 1];
      if (last && last.kind === kind) last.text += text; else if (text) parts.push({ kind, text });
    };
    add("kept", a.slice(0, head).join(""));
    if (x.length * y.length > 2e6) { add("removed", x.join("")); add("added", y.join("")); } else {
      const width = y.length + 1, best = new Uint16Array((x.length + 1) * width);
      for (let i = x.length - 1; i >= 0; i -= 1) for (let j = y.length - 1; j >= 0; j -= 1)
        best[i * width + j] = x[i] === y[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      let i = 0, j = 0;
      while (i < x.length || j < y.length) {
        if (i < x.length && j < y.length && x[i] === y[j]) { add("kept", x[i]); i += 1; j += 1; }
        else if (i < x.length && (j === y.length || best[(i + 1) * width + j] >= best[i * width + j + 1])) { add("removed", x[i]); i += 1; }
        else { add("added", y[j]); j += 1; }
      }
    }
    add("kept", a.slice(a.length - tail).join(""));
    return parts;
  }

  /* ---------- the segments ---------- */

  function segments(tables) {
    const host = byId("segments");
    const usable = tables.filter((table) => table.segments);
    if (!usable.length) { host.hidden = true; return; }
    let table = usable[0], page = 0, found = [];
    const list = make("div", { id: "list" }), count = make("span", { id: "count", role: "status" });
    const select = (id, options, value) => {
      const node = make("select", { id }, ...options.map(([key, text]) => make("option", { value: key }, text)));
      if (value !== undefined) node.value = value;
      return node;
    };
    const tick = (id) => make("input", { type: "checkbox", id });
    const set = select("set", usable.map((t, i) => [String(i), t.title]));
    const metric = make("select", { id: "metric" }), first = make("select", { id: "first" }), second = make("select", { id: "second" });
    const order = select("order", [["worst", "worst of A first"], ["best", "best of A first"], ["gap", "largest difference A − B"], ["given", "as in the test set"]]);
    const only = select("only", [["0", "all"], ["10", "10"], ["50", "50"], ["100", "100"]]);
    const search = make("input", { type: "search", id: "search", placeholder: "text or segment name" });
    const differ = tick("differ"), cut = tick("cut"), cleaned = tick("cleaned"), pair = tick("pair");
    const label = (text, node) => make("label", {}, text, node);
    const ticked = (text, node) => make("label", { class: "tick" }, node, ` ${text}`);
    const previous = make("button", { type: "button", id: "previous", onclick: () => turn(-1) }, "◂ previous");
    const next = make("button", { type: "button", id: "next", onclick: () => turn(1) }, "next ▸");

    const systems = () => table.segments.systems;
    const textOf = (system, index) => {
      const text = table.segments.texts[system.text], mended = text.cleaned[index];
      return system.cleaned && mended !== undefined ? mended : text.raw[index];
    };
    const scoreOf = (system, index) => (system.scores[metric.value] || [])[index];
    const chosen = () => [systems()[Number(first.value)], second.value === "" ? null : systems()[Number(second.value)]];

    function fill() {
      const options = systems().map((system, i) => [String(i), `${system.number}. ${system.title}`]);
      const replace = (node, entries) => node.replaceChildren(...entries.map(([key, text]) => make("option", { value: key }, text)));
      replace(metric, table.segments.metrics.map((m) => [m.key, m.title]));
      replace(first, options);
      replace(second, [["", "none"], ...options]);
      second.value = options.length > 1 ? "1" : "";
      for (const node of [cut, cleaned]) node.checked = false;
    }

    function refresh() {
      const [a, b] = chosen(), wanted = search.value.trim().toLowerCase(), s = table.segments;
      found = [];
      for (let i = 0; i < s.count; i += 1) {
        if (differ.checked && b && textOf(a, i) === textOf(b, i)) continue;
        if (cut.checked && !(a.finish[i] === "length" || (b && b.finish[i] === "length"))) continue;
        if (cleaned.checked && s.texts[a.text].cleaned[i] === undefined) continue;
        if (wanted && ![s.ids[i], s.sources && s.sources[i], s.references && s.references[i], textOf(a, i), b && textOf(b, i)]
          .some((text) => text && text.toLowerCase().includes(wanted))) continue;
        found.push(i);
      }
      const low = (i) => { const v = scoreOf(a, i); return v === undefined ? Infinity : v; };
      const gap = (i) => { const x = scoreOf(a, i), y = b ? scoreOf(b, i) : undefined; return x === undefined || y === undefined ? -1 : Math.abs(x - y); };
      const limit = Number(only.value);
      if (limit) {
        const worst = new Set([...found].sort((x, y) => low(x) - low(y) || x - y).slice(0, limit));
        found = found.filter((i) => worst.has(i));
      }
      if (order.value === "worst") found.sort((x, y) => low(x) - low(y) || x - y);
      if (order.value === "best") found.sort((x, y) => low(y) - low(x) || x - y);
      if (order.value === "gap") found.sort((x, y) => gap(y) - gap(x) || x - y);
      page = 0;
      show();
    }

    function turn(step) {
      page += step;
      show();
      list.scrollIntoView({ block: "start" });
    }

    function show() {
      const shown = found.slice(page * PAGE, (page + 1) * PAGE);
      list.replaceChildren(...shown.map(card));
      count.textContent = found.length
        ? `${page * PAGE + 1}–${page * PAGE + shown.length} of ${found.length} segments (${table.segments.count} in all)`
        : `no segment fits (${table.segments.count} in all)`;
      previous.disabled = page === 0;
      next.disabled = (page + 1) * PAGE >= found.length;
    }

    function words(text) { return text === "" ? make("span", { class: "empty" }, "(empty)") : text; }

    // The cleaning of one hypothesis: what was taken away struck through, what was put in underlined.
    function mended(system, index) {
      const text = table.segments.texts[system.text], after = text.cleaned[index];
      if (after === undefined) return [words(text.raw[index])];
      return difference(text.raw[index], after).map((part) =>
        (part.kind === "kept" ? part.text : make(part.kind === "removed" ? "del" : "ins", {}, part.text)));
    }

    function against(a, b, index) {
      return difference(textOf(a, index), textOf(b, index)).filter((part) => part.kind !== "removed")
        .map((part) => (part.kind === "kept" ? part.text : make("mark", {}, part.text)));
    }

    function line(system, index, a, b) {
      const badges = [];
      if (system.finish[index] === "length") badges.push("cut off at the token limit");
      if (system.finish[index] === "placeholder") badges.push("placeholder: audio unusable");
      for (const sign of system.signs[index] || []) badges.push(sign);
      const value = scoreOf(system, index), digits = metric.value === "comet" ? 4 : 2;
      const compare = b && system === b && textOf(a, index) !== textOf(b, index) && table.segments.texts[b.text].cleaned[index] === undefined;
      const choice = system === a ? "A" : system === b ? "B" : null;
      return make("tr", { "data-system": system.number }, make("th", { scope: "row" }, `${system.number}. ${system.title}`,
        choice ? make("span", { class: "choice" }, choice) : null),
      make("td", { class: "figure" }, figure(value, digits)),
      make("td", {}, ...badges.map((text) => make("span", { class: "badge" }, text)),
        ...(compare ? against(a, b, index) : mended(system, index))));
    }

    function card(index) {
      const s = table.segments, [a, b] = chosen();
      const given = (title, text) => (text === undefined || text === null ? null
        : make("tr", { class: "given" }, make("th", { scope: "row" }, title), make("td"), make("td", {}, words(text))));
      const clip = s.audio[index], seconds = s.durations && s.durations[index];
      const shown = pair.checked ? systems().filter((system) => system === a || system === b) : systems();
      return make("article", { class: "segment", "data-index": index },
        make("header", {}, make("b", {}, s.ids[index]), make("span", { class: "quiet" }, `line ${index + 1}`),
          seconds ? make("span", { class: "quiet" }, `${seconds.toFixed(1)} s`) : null,
          clip ? make("audio", { controls: true, preload: "none", src: clip, "aria-label": `recording of ${s.ids[index]}` }) : null),
        make("table", {}, make("tbody", {}, given("Source", s.sources && s.sources[index]), given("Reference", s.references && s.references[index]),
          ...shown.map((system) => line(system, index, a, b)))));
    }

    for (const node of [metric, first, second, order, only, differ, cut, cleaned]) node.addEventListener("change", refresh);
    pair.addEventListener("change", show);
    let waiting;
    search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 120); });
    set.addEventListener("change", () => { table = usable[Number(set.value)]; fill(); refresh(); });
    host.append(make("h2", { id: "segments-title" }, "Segments"),
      make("p", { class: "quiet" }, "Cleaning is shown as ", make("del", {}, "taken away"), " and ", make("ins", {}, "put in"), "; words of B that A does not have as ", make("mark", {}, "marked"), "."),
      make("div", { class: "controls" }, usable.length > 1 ? label("Test set", set) : null, label("A", first), label("B", second), label("Score", metric),
        label("Order", order), label("Only the worst", only), label("Search", search),
        ticked("A and B differ", differ), ticked("cut off", cut), ticked("changed by cleaning", cleaned), ticked("show A and B only", pair)),
      make("div", { class: "pager" }, previous, next, count), list);
    fill();
    refresh();
  }

  /* ---------- all of it ---------- */

  byId("made").textContent = data.made;
  data.tables.forEach((table, number) => {
    const { node, rows } = summary(table, number);
    const notes = make("details", {}, make("summary", {}, "Notes and signatures"), make("ul", { class: "notes" }, ...table.notes.map((text) => make("li", {}, text))));
    byId("tables").append(make("section", { "data-table": number }, make("h2", {}, table.title), node,
      ...table.warnings.map((text) => make("p", { class: "warning" }, text)), notes,
      make("div", { class: "graphs" }, graph(table, rows), breakdown(table))));
  });
  segments(data.tables);
  // On paper nothing can be unfolded.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((node) => { node.open = true; }));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
