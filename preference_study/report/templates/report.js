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
// The case browser. Text from the data only ever enters the page as text nodes.
(() => {
  const PAGE = 10;
  const find = (id) => document.getElementById(id);
  const { cases, colours, names } = JSON.parse(find("case-data").textContent);
  const state = { method: Object.keys(colours).find((policy) => policy !== "base"), filter: "all", order: "original", page: 0, terms: [] };

  const rewards = (c) => c.responses[state.method].reward - c.responses.base.reward;
  const words = (c) => c.responses[state.method].words - c.responses.base.words;
  const gold = (c, policy) => c.responses[policy].gold;
  const FILTERS = {
    all: { keep: () => true, order: "original" },
    wins: { keep: (c) => rewards(c) > 0, order: "reward-down" },
    losses: { keep: (c) => rewards(c) < 0, order: "reward-up" },
    ties: { keep: (c) => rewards(c) === 0, order: "original" },
    gained: { keep: (c) => gold(c, state.method) && !gold(c, "base"), order: "original" },
    lost: { keep: (c) => !gold(c, state.method) && gold(c, "base"), order: "original" },
  };
  const ORDERS = {
    original: null,
    "reward-down": (a, b) => rewards(b) - rewards(a),
    "reward-up": (a, b) => rewards(a) - rewards(b),
    "words-down": (a, b) => words(b) - words(a),
    "words-up": (a, b) => words(a) - words(b),
  };

  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&");
  const pattern = (terms, flags) => new RegExp(terms.map(escaped).join("|"), flags);

  function selected() {
    const terms = state.terms.map((term) => pattern([term], "iu"));
    const kept = cases.filter((c) => {
      if (!FILTERS[state.filter].keep(c)) return false;
      const texts = [...c.prompt.map((turn) => turn.content), c.responses.base.text, c.responses[state.method].text];
      return terms.every((term) => texts.some((text) => term.test(text)));
    });
    return ORDERS[state.order] ? kept.sort(ORDERS[state.order]) : kept;
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
    const given = c.responses[policy];
    const facts = element(
      "ul", "facts",
      element("li", "", `reward ${given.reward.toFixed(2).replace("-", "−")}`),
      element("li", "", `${given.words} words`),
      element("li", given.finished ? "" : "warn", given.finished ? "finished" : "cut off"),
    );
    if (given.gold !== undefined) {
      // Why it is no answer although it obeys; where it does not obey, that is said by the letter.
      const refused = given.letter ? `✗ not gold: ${given.flaw}` : "✗ not gold";
      facts.append(
        element("li", given.letter ? "good" : "bad", given.letter ? "✓ letter" : "✗ letter"),
        element("li", given.gold ? "good" : "bad", given.gold ? "✓ gold" : refused),
      );
    }
    const text = given.text.trim() ? element("p", "text", ...marked(given.text)) : element("p", "text empty", "(empty)");
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
    const differences = `${names[state.method]} minus base: reward ${signed(rewards(c), 2)}, words ${signed(words(c), 0)}`;
    return element(
      "article", "case",
      element("p", "where", element("span", "", `Prompt ${cases.indexOf(c) + 1}`), element("span", "", differences)),
      ...asked,
      element("div", "responses", response(c, "base"), response(c, state.method)),
    );
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
    find("case-order").value = state.order;
  }

  function change(values) {
    Object.assign(state, { page: 0 }, values);
    show();
  }

  let waiting = 0;
  find("case-search").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ terms: event.target.value.split(/\s+/).filter(Boolean) }), 120);
  });
  find("case-controls").addEventListener("submit", (event) => event.preventDefault());
  find("case-method").addEventListener("change", (event) => change({ method: event.target.value }));
  find("case-order").addEventListener("change", (event) => change({ order: event.target.value }));
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => change({ filter: button.dataset.filter, order: FILTERS[button.dataset.filter].order }));
  }
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      change({ page: state.page + Number(button.dataset.step) });
      if (button.closest(".pager").getAttribute("aria-label").endsWith("below")) find("case-count").scrollIntoView();
    });
  }
  find("case-method").value = state.method;
  find("browser").hidden = false;
  show();
})();
