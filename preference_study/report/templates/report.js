"use strict";
// Tables wider than the page: a word that they scroll, and a place for the keyboard; of the others neither.
(() => {
  const look = (box) => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.previousElementSibling.hidden = !wide;
    if (!wide) return ["tabindex", "role", "aria-label"].forEach((name) => box.removeAttribute(name));
    const section = box.closest("section").querySelector("h2").textContent;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `${section}: ${box.dataset.caption}`);
  };
  const watching = new ResizeObserver((entries) => entries.forEach((entry) => look(entry.target)));
  for (const box of document.querySelectorAll(".scroll")) watching.observe(box);
})();
// Tables as files for a spreadsheet.
const spreadsheet = (() => {
  // A spreadsheet takes a cell that begins so for a formula, and a text from the data may be written to be one. An apostrophe
  // in front and quotation marks around it make it a text, as OWASP advises ("CSV Injection"); numbers stay numbers.
  const FORMULA = /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]/u;
  const NUMBER = /^-?\d+(\.\d+)?$/;

  function cell(value) {
    const text = String(value ?? "");
    if (NUMBER.test(text) || typeof value === "number") return text;
    return `"${(FORMULA.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
  }

  // Rows of values as a CSV file that the browser saves. It begins with a byte order mark, or Excel takes it for another encoding.
  function save(name, rows) {
    const text = rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\uFEFF", text], { type: "text/csv;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // What a cell of a page's table says, without what is drawn; a number as programs write it.
  function said(element) {
    const texts = document.createTreeWalker(element, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
      node.nodeType === Node.TEXT_NODE ? NodeFilter.FILTER_ACCEPT
        : node.getAttribute("aria-hidden") === "true" ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_SKIP);
    const found = [];
    while (texts.nextNode()) found.push(texts.currentNode.data);
    const text = found.join(" ").replace(/\s+/g, " ").trim();
    return /^[+−]?[\d,]+(\.\d+)?$/.test(text) ? text.replace("−", "-").replace(/[+,]/g, "") : text;
  }

  for (const box of document.querySelectorAll(".scroll")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "CSV";
    button.setAttribute("aria-label", `CSV of the table: ${box.dataset.caption}`);
    button.addEventListener("click", () => {
      const rows = [...box.querySelectorAll("tr")].map((row) =>
        [...row.cells].flatMap((one) => [said(one), ...Array(one.colSpan - 1).fill("")]));
      const name = `${box.closest("section").id} ${box.dataset.caption}`.toLowerCase().replace(/[^a-z0-9]+/g, "-");
      save(`${name.slice(0, 60).replace(/-+$/, "")}.csv`, rows);
    });
    box.after(button);
  }
  return { cell, save };
})();
// The case browser. Text from the data only ever enters the page as text nodes.
(() => {
  const PAGE = 10;
  const find = (id) => document.getElementById(id);
  const { cases, colours, names } = JSON.parse(find("case-data").textContent);
  const methods = Object.keys(colours).filter((policy) => policy !== "base");
  const state = { method: methods[0], filter: "all", category: "", order: "original", direction: "down", page: 0, terms: [] };

  const given = (c, policy) => c.responses[policy];
  const own = (c) => given(c, state.method);
  const difference = (c, measure) => own(c)[measure] - given(c, "base")[measure];
  const FILTERS = {
    all: { keep: () => true, order: "original" },
    wins: { keep: (c) => difference(c, "reward") > 0, order: "difference reward", direction: "down" },
    losses: { keep: (c) => difference(c, "reward") < 0, order: "difference reward", direction: "up" },
    ties: { keep: (c) => difference(c, "reward") === 0, order: "original" },
    gained: { keep: (c) => own(c).gold && !given(c, "base").gold, order: "original" },
    lost: { keep: (c) => !own(c).gold && given(c, "base").gold, order: "original" },
    fooled: { keep: (c) => difference(c, "reward") > 0 && own(c).gold <= given(c, "base").gold, order: "difference reward", direction: "down" },
    loops: { keep: (c) => own(c).loops, order: "original" },
    echoes: { keep: (c) => own(c).echoes, order: "original" },
  };
  // What a case is ordered by, such as "difference reward", "policy words" or "base repetition".
  const value = (c, whose, measure) =>
    whose === "difference" ? difference(c, measure) : given(c, whose === "base" ? "base" : state.method)[measure];

  // An apostrophe is found however it is written.
  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&").replace(/['’‘]/g, "['’‘]");
  // A phrase is also found across a line's end, and a letter with an accent as one character or as two.
  const forms = (term) => [...new Set([term.normalize("NFC"), term.normalize("NFD")])];
  const pattern = (terms, flags) =>
    new RegExp(terms.flatMap(forms).map((term) => escaped(term).replace(/\s+/g, "\\s+")).join("|"), flags);
  // Words, and phrases in quotation marks, straight or curly; one that is not closed yet ends with the text.
  const termsOf = (text) => [...text.matchAll(/["“”„]([^"“”„]*)(?:["“”„]|$)|(\S+)/gu)]
    .map(([, phrase, word]) => (word ?? phrase).trim()).filter(Boolean);

  function selected() {
    const terms = state.terms.map((term) => pattern([term], "iu"));
    const kept = cases.filter((c) => {
      if (!FILTERS[state.filter].keep(c) || (state.category && c.category !== state.category)) return false;
      const texts = [...c.prompt.map((turn) => turn.content), given(c, "base").text, own(c).text];
      return terms.every((term) => texts.some((text) => term.test(text)));
    });
    const [whose, measure] = state.order.split(" ");
    const sign = state.direction === "up" ? 1 : -1;
    return measure ? kept.sort((a, b) => sign * (value(a, whose, measure) - value(b, whose, measure))) : kept;
  }

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  // The text with what was searched for marked.
  function marked(text) {
    if (!state.terms.length) return [text];
    const parts = [];
    let last = 0;
    for (const hit of text.matchAll(pattern(state.terms, "giu"))) {
      parts.push(text.slice(last, hit.index), element("mark", "", hit[0]));
      last = hit.index + hit[0].length;
    }
    return [...parts, text.slice(last)];
  }

  function signed(value, places) {
    const rounded = value.toFixed(places);
    return (Number(rounded) > 0 ? "+" : "") + (Number(rounded) === 0 ? (0).toFixed(places) : rounded.replace("-", "−"));
  }

  function response(c, policy) {
    const shown = given(c, policy);
    const facts = element(
      "ul", "facts",
      ...(shown.reward === undefined ? [] : [element("li", "", `reward ${shown.reward.toFixed(2).replace("-", "−")}`)]),
      element("li", "", `${shown.words} words`),
      element("li", "", `repetition ${shown.repetition.toFixed(2)}`),
      element("li", shown.finished ? "" : "warn", shown.finished ? "finished" : "cut off"),
      ...["loops", "echoes"].filter((flag) => shown[flag]).map((flag) => element("li", "warn", flag)),
    );
    if (shown.gold !== undefined) {
      // Why it is no answer although it obeys; where it does not obey, that is said by the letter.
      const refused = shown.letter ? `✗ not gold: ${shown.flaw}` : "✗ not gold";
      facts.append(
        element("li", shown.letter ? "good" : "bad", shown.letter ? "✓ letter" : "✗ letter"),
        element("li", shown.gold ? "good" : "bad", shown.gold ? "✓ gold" : refused),
      );
    }
    const text = shown.text.trim() ? element("p", "text", ...marked(shown.text)) : element("p", "text empty", "(empty)");
    text.dir = "auto";
    const box = element("div", "response", element("h4", "", names[policy]), facts, text);
    box.style.setProperty("--policy", colours[policy]);
    return box;
  }

  function article(c) {
    const earlier = c.prompt.slice(0, -1).map((turn) => {
      const said = element("p", "turn", ...marked(turn.content));
      said.dir = "auto";
      return element("div", "", element("p", "role", turn.role), said);
    });
    const prompt = element("h3", "prompt", ...marked(c.prompt.at(-1).content));
    prompt.dir = "auto";
    const asked = earlier.length ? [element("div", "turns", ...earlier, element("p", "role", "user")), prompt] : [prompt];
    // Of two judges there are no rewards to compare.
    const measures = [["reward", 2], ["words", 0], ["repetition", 2]].filter(([measure]) => given(c, "base")[measure] !== undefined);
    const changes = measures.map(([measure, places]) => `${measure} ${signed(difference(c, measure), places)}`).join(", ");
    const differences = `${names[state.method]} minus ${names.base}: ${changes}`;
    const number = cases.indexOf(c) + 1;
    const link = element("a", "", `Prompt ${number}`);
    link.href = `#case-${number}${methods.length > 1 ? `-${state.method}` : ""}`;
    const place = c.category === null ? [link] : [link, ` · ${c.category}`];
    const made = element(
      "article", "case",
      element("p", "where", element("span", "", ...place), element("span", "", differences)),
      ...asked,
      element("div", "responses", response(c, "base"), response(c, state.method)),
    );
    made.id = `case-${number}`;
    made.tabIndex = -1;
    return made;
  }

  function show() {
    const found = selected();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const first = state.page * PAGE;
    const shown = found.slice(first, first + PAGE);
    find("case-list").replaceChildren(...shown.map(article));
    find("case-count").textContent = shown.length
      ? `${found.length} of ${cases.length} prompts; shown are ${first + 1} to ${first + shown.length}`
      : `0 of ${cases.length} prompts`;
    for (const place of document.querySelectorAll(".page-number")) place.textContent = `page ${state.page + 1} of ${pages}`;
    for (const button of document.querySelectorAll("[data-filter]")) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === state.filter));
    }
    for (const button of document.querySelectorAll("[data-step]")) {
      // Not `disabled`: a button that is disabled under the finger loses the keyboard's focus.
      const target = state.page + Number(button.dataset.step);
      button.setAttribute("aria-disabled", String(target < 0 || target >= pages));
    }
    for (const name of ["method", "category", "order", "direction"]) find(`case-${name}`).value = state[name];
    find("case-direction").parentElement.hidden = state.order === "original";
  }

  function change(values) {
    Object.assign(state, { page: 0 }, values);
    show();
  }

  let waiting = 0;
  find("case-search").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ terms: termsOf(event.target.value) }), 120);
  });
  find("case-controls").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["method", "category", "order", "direction"]) {
    find(`case-${name}`).addEventListener("change", (event) => change({ [name]: event.target.value }));
  }
  find("case-csv").addEventListener("click", () => {
    const policies = ["base", state.method];
    const facts = ["text", ...Object.keys(given(cases[0], "base")).filter((name) => name !== "text")];
    const columns = facts.flatMap((name) => policies.map((policy) => [policy, name]));
    const prompt = (c) => (c.prompt.length > 1 ? c.prompt.map((turn) => `${turn.role}: ${turn.content}`).join("\n\n") : c.prompt[0].content);
    spreadsheet.save(`cases-${state.method}.csv`, [
      ["number", "category", "prompt", ...columns.map(([policy, name]) => `${policy === "base" ? names.base : policy} ${name === "text" ? "response" : name}`)],
      ...selected().map((c) => [cases.indexOf(c) + 1, c.category, prompt(c), ...columns.map(([policy, name]) => given(c, policy)[name])]),
    ]);
  });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => {
      const { order, direction = "down" } = FILTERS[button.dataset.filter];
      change({ filter: button.dataset.filter, order, direction });
    });
  }
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      change({ page: state.page + Number(button.dataset.step) });
      if (button.closest(".pager").getAttribute("aria-label").endsWith("below")) find("case-count").scrollIntoView();
    });
  }

  // Opens the case that the address names, #case-12 or, for one policy of several, #case-12-dpo; filters that hide it are undone.
  function follow() {
    const [, number, method] = /^#case-(\d+)(?:-(.+))?$/.exec(location.hash) ?? [];
    const wanted = cases[Number(number) - 1];
    if (!wanted || (method && !methods.includes(method))) return;
    state.method = method ?? state.method;
    if (!selected().includes(wanted)) {
      clearTimeout(waiting);
      find("case-search").value = "";
      Object.assign(state, { filter: "all", category: "", terms: [] });
    }
    state.page = Math.floor(selected().indexOf(wanted) / PAGE);
    show();
    const opened = find(`case-${number}`);
    opened.focus({ preventScroll: true });
    opened.scrollIntoView();
  }

  // In the data a text may be anything, so options are made here, of text nodes.
  const counts = new Map();
  for (const { category } of cases) if (category !== null) counts.set(category, (counts.get(category) ?? 0) + 1);
  for (const [category, count] of [...counts].sort(([a], [b]) => a.localeCompare(b))) {
    const option = element("option", "", `${category} (${count})`);
    option.value = category;
    find("case-category").append(option);
  }
  find("case-category").parentElement.hidden = counts.size < 2;
  find("browser").hidden = false;
  show();
  addEventListener("hashchange", follow);
  follow();
})();
