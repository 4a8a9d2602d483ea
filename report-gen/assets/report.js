"use strict";
(() => {
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("mlx-fleet-theme"); } catch { return null; } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const format = (v) => Math.abs(v) >= 10000
    ? Math.round(v).toLocaleString("en")
    : String(Number(v.toPrecision(4)));

  // A tooltip is built of text nodes: names are the user's and must not become markup.
  const tip = (title, lines) => {
    const box = document.createElement("div");
    const head = document.createElement("strong");
    head.textContent = title.replace("\n", ", ");
    box.append(head);
    for (const line of lines) {
      const row = document.createElement("div");
      row.textContent = line;
      box.append(row);
    }
    return box;
  };
  // How far a number may be trusted, by mark, shade and outline: none of them alone.
  const words = { tainted: "doubtful conditions", invalid: "invalid" };
  const marks = { sound: "", tainted: " †", invalid: " ✗" };
  const shade = (state, of) => (state === "sound" ? { color: of } : {
    color: state === "tainted" ? { type: "linear", x: 0, y: 0, x2: 0, y2: 1, colorStops: [
      { offset: 0, color: of }, { offset: 0.35, color: of }, { offset: 0.35, color: colour("panel") },
      { offset: 0.65, color: colour("panel") }, { offset: 0.65, color: of }, { offset: 1, color: of },
    ] } : colour("panel"),
    borderColor: of, borderWidth: 1.5, borderType: state === "invalid" ? "dashed" : "solid",
  });
  const describe = (name, point, unit) => {
    const lines = [`${name ? `${name}: ` : ""}${format(point.value)} ${unit}`];
    if (point.low !== null) lines.push(`95 % interval ${format(point.low)} to ${format(point.high)}`);
    if (point.n) lines.push(point.n === 1 ? "one launch, no interval" : `n = ${point.n} launches`);
    if (point.state !== "sound") lines.push(`${words[point.state]}: see Validity`);
    return lines;
  };

  const palette = () => [1, 2, 3, 4, 5, 6, 7, 8].map((i) => colour(`c${i}`));
  const axis = (extra) => ({
    axisLine: { lineStyle: { color: colour("line") } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colour("line"), type: "dashed" } },
    axisLabel: { color: colour("muted"), fontSize: 12 },
    nameTextStyle: { color: colour("muted") },
    ...extra,
  });
  const frame = (extra) => ({
    animation: false,
    color: palette(),
    // Named in full: a width is measured off the page, where nothing can be inherited.
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("text") },
    tooltip: {
      trigger: "item", confine: true, backgroundColor: colour("panel"),
      borderColor: colour("line"), textStyle: { color: colour("text"), fontSize: 13 },
    },
    ...extra,
  });
  const legend = (names) => ({
    show: names.length > 1, type: "plain", top: 0, left: 8, itemWidth: 14, itemHeight: 10,
    textStyle: { color: colour("text") }, data: names,
  });

  const whisker = (api, from, to, upright) => {
    const cap = 4;
    const stroke = { stroke: colour("whisker"), lineWidth: 1.25, opacity: 0.85 };
    const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: stroke });
    return upright
      ? [line(from[0], from[1], to[0], to[1]), line(from[0] - cap, from[1], from[0] + cap, from[1]),
         line(to[0] - cap, to[1], to[0] + cap, to[1])]
      : [line(from[0], from[1], to[0], to[1]), line(from[0], from[1] - cap, from[0], from[1] + cap),
         line(to[0], to[1] - cap, to[0], to[1] + cap)];
  };
  const label = (x, y, text) => ({
    type: "text",
    style: { x, y, text, fill: colour("text"), fontSize: 11.5, verticalAlign: "middle" },
  });

  const categoryAxis = (el, categories) => axis({
    type: "category", data: categories, inverse: true, splitLine: { show: false },
    axisLabel: {
      color: colour("text"), fontSize: 12, lineHeight: 15, interval: 0,
      width: Math.min(280, Math.round(el.clientWidth * 0.36)), overflow: "break",
    },
  });

  // A legend, and where the plot begins below it.
  const legendAbove = (el, spec) => {
    const names = spec.series.map((s) => s.name);
    const narrow = el.clientWidth < 560;
    const wanted = names.reduce((sum, name) => sum + 36 + 6.6 * name.length, 0);
    const rows = narrow && wanted > el.clientWidth ? names.length : Math.ceil(wanted / (el.clientWidth - 16));
    const upright = rows === names.length && narrow;
    return {
      legend: { ...legend(names), orient: upright ? "vertical" : "horizontal" },
      top: names.length > 1 ? 20 + 16 * rows : 14,
    };
  };
  const ratioAxis = (log, margin, ends) => {
    const low = Math.min(1 - 2 * margin, ...ends);
    const high = Math.max(1 + 2 * margin, ...ends);
    const pad = (high - low) * 0.08;
    return axis({
      type: log ? "log" : "value", logBase: 2,
      min: log ? 2 ** Math.floor(Math.log2(low)) : low - pad,
      max: log ? 2 ** Math.ceil(Math.log2(high)) : high + pad,
      axisLabel: { color: colour("muted"), formatter: format, hideOverlap: true, showMinLabel: log, showMaxLabel: log },
    });
  };
  const aroundOne = (margin) => ({
    markLine: {
      silent: true, symbol: "none", label: { show: false },
      lineStyle: { color: colour("muted"), type: "solid" }, data: [{ xAxis: 1 }],
    },
    markArea: {
      silent: true, itemStyle: { color: colour("margin") },
      data: [[{ xAxis: 1 / (1 + margin) }, { xAxis: 1 + margin }]],
    },
  });

  const drawings = {
    strips(el, spec) {
      const points = spec.series.flatMap((s) => s.points);
      const ends = points.flatMap((p) => [p.low ?? p.value, p.high ?? p.value]);
      const top = Math.max(0, ...ends);
      const largest = spec.categories.map((_, row) => points
        .filter((p) => p.row === row).reduce((a, b) => (a && a.value >= b.value ? a : b), null));
      const named = el.clientWidth >= 560;
      const lane = 7;
      const above = legendAbove(el, spec);
      const series = spec.series.flatMap((s, k) => [
        {
          type: "scatter", name: s.name, symbolSize: 8, z: 6, itemStyle: { color: palette()[k % 8] },
          ...(k === 0 && spec.margin !== null ? aroundOne(spec.margin) : {}),
          data: s.points.map((p) => ({
            value: [p.value, p.row], point: p, symbolOffset: [0, p.lane * lane],
            // Too small for stripes: a ring.
            itemStyle: { ...shade(p.state, palette()[k % 8]), color: p.state === "sound" ? palette()[k % 8] : colour("panel") },
            label: {
              show: named && largest[p.row] === p, position: "right", distance: 7,
              formatter: p.label + marks[p.state], color: colour("text"), fontSize: 11.5,
            },
          })),
        },
        {
          type: "custom", name: s.name, silent: true, z: 5, tooltip: { show: false },
          data: s.points.map((p) => [p.value, p.row]),
          renderItem(params, api) {
            const p = s.points[params.dataIndex];
            if (p.low === null) return null;
            const [from, to] = [p.low, p.high].map((v) => api.coord([v, p.row]));
            return {
              type: "line", style: { stroke: palette()[k % 8], lineWidth: 1.25 },
              shape: { x1: from[0], y1: from[1] + p.lane * lane, x2: to[0], y2: to[1] + p.lane * lane },
            };
          },
        },
      ]);
      return frame({
        legend: above.legend,
        grid: { left: 8, right: named ? 90 : 16, top: above.top, bottom: 6, containLabel: true },
        xAxis: spec.margin === null
          ? axis({ type: "value", min: 0, max: top > 0 ? top * 1.02 : 1, axisLabel: { color: colour("muted"), hideOverlap: true, showMaxLabel: false, formatter: format } })
          : ratioAxis(spec.log, spec.margin, ends),
        yAxis: { ...categoryAxis(el, spec.categories), splitLine: { show: true, lineStyle: { color: colour("line") } } },
        series,
        tooltip: {
          ...frame().tooltip,
          formatter: (p) => tip(p.data.point.label, [p.name.replace("\n", ", "), ...describe("", p.data.point, spec.unit)]),
        },
      });
    },

    bars(el, spec) {
      const top = Math.max(0, ...spec.series.flatMap((s) => s.points.filter(Boolean).map((p) => p.high ?? p.value)));
      const gaps = { barGap: "25%", barCategoryGap: "30%" };
      const series = spec.series.flatMap((s, k) => [
        {
          type: "bar", name: s.name, ...gaps, barMaxWidth: 22,
          data: s.points.map((p) => (p
            ? { value: p.value, point: p, itemStyle: { ...shade(p.state, palette()[k % 8]), borderRadius: [0, 3, 3, 0] } }
            : null)),
        },
        {
          type: "custom", name: s.name, silent: true, z: 5, tooltip: { show: false },
          data: s.points.map((p, i) => [p ? p.value : null, i]),
          renderItem(params, api) {
            const p = s.points[params.dataIndex];
            if (!p) return null;
            const layout = api.barLayout({ ...gaps, barMaxWidth: 22, count: spec.series.length })[k];
            const at = (v) => { const c = api.coord([v, params.dataIndex]); return [c[0], c[1] + layout.offsetCenter]; };
            const end = at(p.high ?? p.value);
            const parts = p.low === null ? [] : whisker(api, at(p.low), end, false);
            return { type: "group", children: [...parts, label(end[0] + 7, end[1], format(p.value) + marks[p.state])] };
          },
        },
      ]);
      return frame({
        legend: legend(spec.series.map((s) => s.name)),
        grid: { left: 8, right: 12, top: spec.series.length > 1 ? 34 : 10, bottom: 6, containLabel: true },
        xAxis: axis({ type: "value", min: 0, max: top > 0 ? top * 1.14 : 1, axisLabel: { color: colour("muted"), hideOverlap: true, showMaxLabel: false, formatter: format } }),
        yAxis: categoryAxis(el, spec.categories),
        series,
        tooltip: { ...frame().tooltip, formatter: (p) => tip(p.name, describe(p.seriesName, p.data.point, spec.unit)) },
      });
    },

    lines(el, spec) {
      const { log } = spec;
      const series = spec.series.flatMap((s, k) => [
        {
          type: "line", name: s.name, symbol: "circle", symbolSize: s.points.length > 40 ? 3 : 8, lineStyle: { width: 2 },
          itemStyle: { color: palette()[k] },
          data: s.points.map((p) => ({ value: [p.x, p.value], point: p, itemStyle: shade(p.state, palette()[k % 8]) })),
        },
        {
          type: "custom", name: s.name, silent: true, z: 5, tooltip: { show: false },
          data: s.points.map((p) => [p.x, p.value]),
          renderItem(params, api) {
            const p = s.points[params.dataIndex];
            if (p.low === null) return null;
            return { type: "group", children: whisker(api, api.coord([p.x, p.low]), api.coord([p.x, p.high]), true) };
          },
        },
      ]);
      const above = legendAbove(el, spec);
      return frame({
        legend: above.legend,
        grid: { left: 12, right: 24, top: above.top, bottom: 30, containLabel: true },
        xAxis: axis({
          type: log ? "log" : "value", logBase: 2, name: spec.xTitle, nameLocation: "middle", nameGap: 28,
          min: log ? undefined : 0, splitLine: { show: false },
          axisLabel: { color: colour("muted"), formatter: format, hideOverlap: true },
        }),
        yAxis: axis({ type: "value", min: 0, axisLabel: { color: colour("muted"), formatter: format } }),
        series,
        tooltip: {
          ...frame().tooltip,
          formatter: (p) => tip(`${spec.xTitle}: ${format(p.data.point.x)}`, describe(p.seriesName, p.data.point, spec.unit)),
        },
      });
    },

    scatter(el, spec) {
      const dots = spec.series.flatMap((s) => s.points);
      const xs = dots.map((p) => p.x);
      const { log } = spec;
      const narrow = el.clientWidth < 560;
      // One name stands for the same point of several series, at the highest of them.
      const highest = new Map();
      for (const p of dots) if (!(highest.get(p.label)?.value >= p.value)) highest.set(p.label, p);
      const named = !narrow && highest.size <= 12;
      const above = legendAbove(el, spec);
      const middle = log ? Math.sqrt(Math.min(...xs) * Math.max(...xs)) : Math.max(...xs) / 2;
      const series = spec.series.flatMap((s, k) => [
        {
          type: "scatter", name: s.name, symbolSize: 10, z: 6, itemStyle: { color: palette()[k % 8] },
          labelLayout: { moveOverlap: "shiftY" },
          data: s.points.map((p) => ({
            value: [p.x, p.value], point: p, itemStyle: shade(p.state, palette()[k % 8]),
            label: {
              show: named && highest.get(p.label) === p, position: p.x > middle ? "left" : "right", distance: 8, formatter: p.label + marks[p.state],
              color: colour("text"), fontSize: 11.5,
            },
          })),
        },
        {
          type: "line", name: s.name, silent: true, z: 3, symbol: "none", tooltip: { show: false },
          lineStyle: { width: 1.75, type: "dashed", color: palette()[k % 8] }, data: s.curve,
        },
        {
          type: "custom", name: s.name, silent: true, z: 5, tooltip: { show: false },
          data: s.points.map((p) => [p.x, p.value]),
          renderItem(params, api) {
            const p = s.points[params.dataIndex];
            if (p.low === null) return null;
            return { type: "group", children: whisker(api, api.coord([p.x, p.low]), api.coord([p.x, p.high]), true) };
          },
        },
      ]);
      return frame({
        legend: above.legend,
        grid: { left: 12, right: 24, top: above.top, bottom: 30, containLabel: true },
        xAxis: axis({
          type: log ? "log" : "value", logBase: 2, name: spec.xTitle, nameLocation: "middle", nameGap: 28,
          min: log ? undefined : 0, splitLine: { show: false },
          axisLabel: { color: colour("muted"), formatter: format, hideOverlap: true },
        }),
        yAxis: axis({ type: "value", min: 0, axisLabel: { color: colour("muted"), formatter: format } }),
        series,
        tooltip: {
          ...frame().tooltip,
          formatter: (p) => tip(p.data.point.label, [
            `${spec.xTitle}: ${format(p.data.point.x)}`, ...describe(p.seriesName, p.data.point, spec.unit),
          ]),
        },
      });
    },

    ratios(el, spec) {
      const ends = spec.points.flatMap((p) => [p.low ?? p.value, p.high ?? p.value]);
      const tone = { good: "good", bad: "bad", even: "muted" };
      return frame({
        grid: { left: 8, right: 24, top: 10, bottom: 6, containLabel: true },
        xAxis: ratioAxis(spec.log, spec.margin, ends),
        yAxis: categoryAxis(el, spec.categories),
        series: [
          {
            type: "scatter", symbolSize: 11, z: 6,
            data: spec.points.map((p, i) => ({
              value: [p.value, i], point: p,
              itemStyle: shade(p.state, colour(tone[spec.tones[i]])),
            })),
            ...aroundOne(spec.margin),
          },
          {
            type: "custom", silent: true, z: 5, tooltip: { show: false },
            data: spec.points.map((p, i) => [p.value, i]),
            renderItem(params, api) {
              const i = params.dataIndex;
              const p = spec.points[i];
              if (p.low === null) return null;
              return { type: "group", children: whisker(api, api.coord([p.low, i]), api.coord([p.high, i]), false) };
            },
          },
        ],
        tooltip: {
          ...frame().tooltip,
          formatter: (p) => tip(spec.categories[p.dataIndex], [
            ...describe("", { ...p.data.point, n: null }, spec.unit),
            spec.verdicts[p.dataIndex],
          ].filter(Boolean)),
        },
      });
    },
  };

  const charts = [];
  if (typeof echarts !== "undefined") {
    for (const el of document.querySelectorAll(".chart")) {
      const source = el.querySelector("script");
      const spec = JSON.parse(source.textContent);
      source.remove();
      charts.push({ el, spec, chart: echarts.init(el, null, { renderer: "svg" }) });
    }
  }
  // What is drawn for paper is as wide as the paper, which the window is not.
  const draw = (width = "") => {
    for (const { el, spec, chart } of charts) {
      el.style.width = width;
      chart.resize();
      chart.setOption(drawings[spec.kind](el, spec), true);
    }
  };

  const button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  const choice = stored();
  if (choice === "dark" || choice === "light") root.dataset.theme = choice;
  button.hidden = false;
  name();
  draw();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("mlx-fleet-theme", root.dataset.theme); } catch { /* a file may have no storage */ }
    name();
    draw();
  });
  prefersDark.addEventListener("change", () => { name(); draw(); });

  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    requestAnimationFrame(() => draw());
  });
  let before;
  addEventListener("beforeprint", () => { before = root.dataset.theme; root.dataset.theme = "light"; draw("17.5cm"); });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
    draw();
  });

  // The section in view is marked in the navigation.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    for (const section of document.querySelectorAll("main section")) seen.observe(section);
  }
})();
