"use strict";
// Text from the data only ever enters the page as text nodes.
(() => {
  const find = (id) => document.getElementById(id);
  const { study, seed, cases } = JSON.parse(find("page-data").textContent);
  const KEPT = `blind-${study}`;
  const EMPTY = { answer: null, flag: false, comment: "", time: null };
  // What is kept in the browser: the name, the place, and what was said of each case.
  const state = { annotator: "", place: 0, said: {} };

  function keep() {
    try {
      localStorage.setItem(KEPT, JSON.stringify(state));
    } catch {
      find("kept").hidden = false;
    }
  }

  function recall() {
    try {
      const found = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      Object.assign(state, found);
      state.place = Math.min(Math.max(Number(state.place) || 0, 0), cases.length - 1);
    } catch {
      find("kept").hidden = false;
    }
  }

  const here = () => cases[state.place].case;
  const said = (id) => state.said[id] ?? EMPTY;
  const answered = () => cases.filter((c) => said(c.case).answer !== null);

  function lines() {
    return answered().map((c) => {
      const { answer, flag, comment, time } = said(c.case);
      return JSON.stringify({ annotator: state.annotator.trim(), seed, study, case: c.case, answer, flag, comment, time }) + "\n";
    }).join("");
  }

  function paragraph(className, text) {
    const made = document.createElement("p");
    made.className = className;
    made.textContent = text;
    made.dir = "auto";
    return made;
  }

  function turns(prompt) {
    if (prompt.length === 1) return [paragraph("asked", prompt[0].content)];
    return prompt.flatMap((turn, i) => [paragraph("role", turn.role), paragraph(i === prompt.length - 1 ? "asked" : "turn", turn.content)]);
  }

  function mark() {
    const { answer, flag } = said(here());
    for (const button of document.querySelectorAll("[data-answer]")) {
      button.setAttribute("aria-pressed", String(button.dataset.answer === answer));
    }
    find("flag").setAttribute("aria-pressed", String(flag));
    find("previous").setAttribute("aria-disabled", String(state.place === 0));
    find("next").setAttribute("aria-disabled", String(state.place === cases.length - 1));
    const done = answered().length;
    find("place").textContent = `Case ${state.place + 1} of ${cases.length}`;
    find("progress").max = cases.length;
    find("progress").value = done;
    find("answered").textContent = done === cases.length ? `All ${done} cases are answered. Save them now.` : `${done} of ${cases.length} cases are answered.`;
    find("export").value = lines();
  }

  function show() {
    const { prompt, responses } = cases[state.place];
    find("prompt").replaceChildren(...turns(prompt));
    responses.forEach((text, i) => {
      const box = find(`response-${i + 1}`);
      box.textContent = text.trim() ? text : "(empty)";
      box.classList.toggle("empty", !text.trim());
      box.dir = "auto";
    });
    find("comment").value = said(here()).comment;
    mark();
  }

  function change(values) {
    state.said[here()] = { ...said(here()), ...values };
    keep();
    mark();
  }

  function go(step) {
    const place = state.place + step;
    if (place < 0 || place >= cases.length) return;
    state.place = place;
    keep();
    show();
    find("prompt").focus({ preventScroll: true });
    scrollTo(0, Math.max(0, find("case").offsetTop - 8));
  }

  function answer(value) {
    change({ answer: value, time: new Date().toISOString() });
    if (state.place < cases.length - 1) go(1);
    else find("save").focus();
  }

  const flag = () => change({ flag: !said(here()).flag });

  for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", (event) => {
    // The second click of a double click falls on the next case, which nobody has read yet.
    if (event.detail < 2) answer(button.dataset.answer);
  });
  find("flag").addEventListener("click", flag);
  find("previous").addEventListener("click", () => go(-1));
  find("next").addEventListener("click", () => go(1));
  find("comment").addEventListener("input", (event) => change({ comment: event.target.value }));
  find("annotator").addEventListener("input", (event) => {
    state.annotator = event.target.value;
    keep();
    mark();
  });

  const KEYS = {
    1: () => answer("1"), 2: () => answer("2"), t: () => answer("tie"), s: () => answer("skip"), f: flag,
    c: () => find("comment").focus(), ArrowLeft: () => go(-1), ArrowRight: () => go(1),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const typing = event.target.matches("input, textarea");
    if (typing && event.key === "Escape") return find("prompt").focus();
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (typing || !act) return;
    event.preventDefault();
    act();
  });

  find("save").addEventListener("click", () => {
    if (!state.annotator.trim()) {
      find("answered").textContent = "Give your name, or one made up, first.";
      return find("annotator").focus();
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines()], { type: "application/x-ndjson;charset=utf-8" }));
    const name = state.annotator.trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") || "answers";
    link.download = `${study}-${name}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });

  recall();
  find("annotator").value = state.annotator;
  find("help").open = answered().length === 0;
  find("case").hidden = false;
  show();
})();
