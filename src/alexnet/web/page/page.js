// The page of `alexnet serve`: no framework, nothing from elsewhere. Every number is the server's.

const $ = (id) => document.getElementById(id);
// A side is an image and a run that answers. The second one is there where something is compared.
const state = { facts: null, others: {}, views: 1, mean: false, layer: null, unit: null, stream: null, turn: 0, compare: "", into: 0, code: "",
  sides: [{ second: false, photo: null, answer: null }, { second: true, photo: null, answer: null }] };
const token = takeToken();
const curl = token ? "curl -H \"Authorization: Bearer $ALEXNET_TOKEN\"" : "curl";

// ---------------------------------------------------------------- small helpers

function make(tag, attributes = {}, ...children) {
  const space = ["svg", "g", "path", "line", "text", "rect", "image", "polygon", "defs", "clipPath", "circle"].includes(tag) || attributes.svg;
  const element = space ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "svg" || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
// Rounded as the figures and commands round: a probability to one digit behind the point, or two below one percent; an error to two, an
// interval to one; a tie to the even digit.
function percent(share, digits = share === 0 || share === 1 ? 0 : share >= 0.01 ? 1 : 2) {
  if (share > 0 && share < 0.0001) return "<0.01%";
  return `${fixed(100 * share, digits)}%`;
}
function fixed(number, digits) {
  if (!Number.isFinite(number)) return String(number);
  const [whole, behind] = Math.abs(number).toFixed(40).split("."), kept = (whole + behind).slice(0, whole.length + digits);
  const tie = /^50*$/.test(behind.slice(digits)) && Number(kept.at(-1)) % 2 === 0;
  return (tie ? (Math.sign(number) * Number(kept)) / 10 ** digits : number).toFixed(digits);
}
function short(value) { // a measured number, as the figures write it: three digits, 1.50 of 1.5
  if (!value || !Number.isFinite(value)) return String(value || 0);
  const [digits, power] = value.toExponential(2).split("e"), whole = Number(power);
  if (whole < -4) return `${digits}e-${String(-whole).padStart(2, "0")}`;
  return whole < 3 ? fixed(value, 2 - whole) : count(Number(fixed(value, 0)));
}
const errorPercent = (share) => percent(share, 2);
const count = (number) => number.toLocaleString("en-US");
const plural = (number, one, many = one + "s") => `${count(number)} ${number === 1 ? one : many}`;
const firstSynonym = (words) => words.split(", ")[0];
const word = (label, facts = state.facts) => firstSynonym(facts.words[label]);
const at = (id, side) => $(side.second ? `${id}-2` : id);
const factsOf = (side) => (side.second && state.others[state.compare]) || state.facts;
const photoOf = (side) => (side.second && state.compare !== "photo" ? state.sides[0] : side).photo;
const sides = () => (state.compare ? state.sides : state.sides.slice(0, 1));
function to(side, path) { // the address of what the side's run answers
  const name = side.second ? state.compare : "";
  return state.others[name] ? `${path}${path.includes("?") ? "&" : "?"}run=${encodeURIComponent(name)}` : path;
}
function sideName(side) {
  if (state.compare !== "photo") return factsOf(side) === state.facts ? state.facts.runs[0] : state.compare;
  return side.second ? "Second image" : "First image";
}

const motion = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

function takeToken() { // from the address, so that it is in no link that is copied from there
  const match = /^#token=(.+)$/.exec(location.hash);
  if (match) {
    sessionStorage.setItem("token", decodeURIComponent(match[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem("token");
}

class Refusal extends Error {
  constructor(status, words, retry) { super(words); this.status = status; this.retry = retry; }
}

async function ask(path, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer. Is `alexnet serve` still running?");
  }
  if (!answer.ok) {
    const words = await answer.json().then((content) => content.detail, () => answer.statusText);
    throw new Refusal(answer.status, words, Number(answer.headers.get("retry-after")));
  }
  return answer;
}
const askJson = async (path, options) => (await ask(path, options)).json();
const askUrl = async (path) => URL.createObjectURL(await (await ask(path)).blob());

const problems = { with: null, address: null, answer: null };
function say(words, of = "answer") { // what is wrong with the address stays until there is another one
  if (!words && !problems[of]) return;
  problems[of] = words ? [words].flat().flatMap((part) => (typeof part === "string" ? marked(part) : part)) : null;
  const shown = Object.values(problems).filter(Boolean);
  $("problem").hidden = !shown.length;
  $("problem").replaceChildren(...shown.flatMap((parts, i) => (i ? [make("br"), ...parts] : parts)));
}
const marked = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part)); // `code` as code
const guarded = (work) => async (...values) => {
  try { await work(...values); } catch (error) { if (error.name !== "AbortError") say(error.message); }
};

function copied(text) { // a line of code and a button that copies it
  const button = make("button", { type: "button", "aria-label": `Copy: ${text}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return make("div", { class: "copied" }, make("code", {}, text), button);
}
const quoted = (text) => (/^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// ---------------------------------------------------------------- tabs, each with an address

const TABS = ["predict", "inside", "similar", "run", "api"];

const layersOf = () => sides().flatMap((side) => factsOf(side).layers);

function addressed() { // what the address asks for, or what is wrong with it
  let text = location.hash.slice(1);
  try { text = decodeURIComponent(text); } catch { /* a lone % is what it is */ }
  const [first, ...rest] = text.replace(/[/:]$/, "").split(/[/:]/), second = rest.join("/"), own = layersOf().filter(({ name }) => name === first);
  const known = [...new Set(layersOf().map(({ name }) => name))], links = (names, words) => names.flatMap((name, i) => [i ? ", " : "",
    make("a", { href: `#${name}` }, words ? words(name) : name)]);
  if (own.length) {
    const units = Math.max(...own.map(({ shape }) => shape[0])), unit = /^\d+$/.test(second) && Number(second) < units ? Number(second) : null;
    return { tab: "inside", layer: first, unit, problem: !rest.length || unit !== null ? null
      : [`${first} has no unit ${second}: its units are `, make("a", { href: `#${first}/0` }, "0"), " to ", make("a", { href: `#${first}/${units - 1}` }, count(units - 1)), "."] };
  }
  if (TABS.includes(first) && !rest.length && !$(`tab-${first}`).hidden) return { tab: first };
  if (!text) return { tab: "predict" };
  const tab = state.tab || "predict";
  if (first === "similar") return { tab, problem: `This server has no index of images: start it with \`alexnet serve ${state.facts.path} --index INDEX\`.` };
  return { tab, problem: [`There is no layer or tab “${text}”. Layers: `, ...links(known), ". Tabs: ",
    ...links(TABS.filter((name) => !$(`tab-${name}`).hidden), (name) => $(`tab-${name}`).textContent), "."] };
}

function route() {
  const { tab, layer, unit, problem } = addressed();
  say(problem, "address");
  for (const name of TABS) {
    const chosen = name === tab;
    $(`tab-${name}`).setAttribute("aria-selected", chosen);
    $(`tab-${name}`).tabIndex = chosen ? 0 : -1;
    $(`panel-${name}`).hidden = !chosen;
  }
  document.title = `${tab === "predict" ? "" : (layer || $(`tab-${tab}`).textContent) + " - "}${state.facts.name} - AlexNet`;
  if (layer) { state.layer = layer; state.unit = unit; }
  if (tab === "inside") showLayer();
  if (tab === "run") showRuns();
  if (tab === "api") showReference();
  if (state.tab !== tab) { state.tab = tab; refresh(); }
}

function startTabs() {
  const shown = () => TABS.filter((name) => !$(`tab-${name}`).hidden);
  for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => { location.hash = name; });
  $("tabs").addEventListener("keydown", (event) => {
    const names = shown(), current = names.indexOf(state.tab);
    const to = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const name = names[(to + names.length) % names.length];
    location.hash = name;
    $(`tab-${name}`).focus();
  });
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $(`panel-${state.tab}`).focus(); });
  addEventListener("hashchange", route);
  addEventListener("resize", () => { if (state.tab === "run") for (const side of runSides()) showCurve(side); });
}

// ---------------------------------------------------------------- the image: a file, the clipboard, an example, the webcam

async function take(blob, name, label = null, into = state.into) {
  const side = state.sides[into], photo = at("photo", side);
  if (!side.second) stopWebcam();
  side.photo = { blob, name, label };
  if (state.compare === "photo" && !side.second && !state.sides[1].photo) { state.into = 1; showInto(); }
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(blob);
  photo.alt = `The image: ${name}`;
  photo.hidden = false; at("invite", side).hidden = true; at("drop", side).classList.add("full");
  photoChanged();
  await refresh();
  if (side.of === side.photo) showOutput();
}

function showOutput() { // on a phone the answer is below the image; whoever looks at more of it stays there
  const { top } = $("output").getBoundingClientRect();
  if (top > innerHeight / 2) $("output").scrollIntoView({ block: "start", behavior: motion() });
}

function photoChanged() {
  markExamples();
  $("depends").replaceChildren();
  if (state.tab === "inside") showLayer(true);
}

function clearPhoto(side) { // an image that is none: nothing of it, and nothing of the one before it, stays
  const photo = at("photo", side);
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.removeAttribute("src");
  photo.alt = "";
  photo.hidden = true; at("invite", side).hidden = false; at("drop", side).classList.remove("full");
  side.photo = null;
  photoChanged();
}

function markExamples() {
  const names = sides().map((side) => photoOf(side)?.name);
  for (const tile of $("examples").children) tile.setAttribute("aria-pressed", names.includes(tile.dataset.name));
}

async function refresh() { // asks what the shown tab needs of the images that are there; the latest question counts
  const asked = sides().filter(photoOf);
  if (!asked.length) return;
  const turn = ++state.turn;
  try {
    await answerOnce(asked, () => turn === state.turn);
    say("");
  } catch (error) {
    if (turn !== state.turn) return;
    if (error.status === 503) setTimeout(() => { if (turn === state.turn) refresh(); }, 1000 * (error.retry || 1));
    const bad = error.status === 400 || error.status === 413;
    for (const side of asked) if (bad ? photoOf(side) === error.photo : side.of !== photoOf(side)) clearAnswer(side);
    for (const side of state.sides) if (bad && side.photo && side.photo === error.photo) clearPhoto(side);
    showElsewhere();
    say(bad ? `${error.photo.name}: ${error.message}` : error.message);
  }
}

async function questionsOf(side) {
  const photo = photoOf(side), options = { method: "POST", body: photo.blob };
  const asks = [askJson(to(side, `predict?views=${state.views}&picture=true`), options)];
  if (state.tab === "inside") asks.push(...mapQuestions(side, options));
  if (state.tab === "similar" && !side.second) asks.push(similarQuestion(options));
  try { return await Promise.all(asks); } catch (error) { error.photo = photo; throw error; }
}

async function answerOnce(asked, current) {
  const answers = await Promise.all(asked.map(questionsOf));
  if (state.tab === "inside" && state.compare === "photo") await scaleAlike(asked, answers);
  if (!current()) return;
  for (const [i, side] of asked.entries()) {
    const [answer, ...others] = answers[i];
    side.answer = answer;
    side.of = photoOf(side);
    await showAnswer(side);
    if (state.tab === "inside" && others.length) showMaps(side, others);
    if (state.tab === "similar" && others.length) showSimilar(others[0]);
  }
}

async function scaleAlike(asked, answers) { // two images of one run: the same number is the same color in both
  const layers = answers.map((own) => own.at(-1).layers?.[0]);
  if (layers.length < 2 || layers.some((layer) => layer?.layer !== layers[0]?.layer || !layer?.strongest)) return;
  const white = Math.max(...layers.map(({ highest }) => highest));
  await Promise.all(layers.map(async (layer, i) => {
    if (layer.highest < white && white > 0) {
      const options = { method: "POST", body: photoOf(asked[i]).blob };
      layer.picture = (await mapQuestions(asked[i], options, white).at(-1)).layers[0].picture;
    }
    layer.white = white;
  }));
}

async function compareWith(choice) {
  if (choice && choice !== "photo" && !state.others[choice]) state.others[choice] = await askJson(`run?run=${encodeURIComponent(choice)}`);
  const two = choice !== "", photos = choice === "photo";
  state.compare = choice; state.into = photos && state.sides[0].photo ? 1 : 0;
  document.body.classList.toggle("comparing", two);
  $("compare").value = choice;
  showHead();
  for (const id of ["side-predict-2", "side-inside-2"]) $(id).hidden = !two;
  $("side-run-2").hidden = !two || photos;
  for (const id of ["drop-2", "next"]) $(id).hidden = !photos;
  if (!two || !photoOf(state.sides[1])) $("sees-2").hidden = true;
  for (const side of state.sides) {
    for (const id of ["who", "whose", "seer", "which"]) { at(id, side).textContent = two ? sideName(side) : "What the net sees"; at(id, side).hidden = !two && id !== "seer"; }
    side.answer = null;
    if (side.second) clearAnswer(side);
  }
  $("depends").replaceChildren();
  showInto();
  photoChanged();
  $("drawn").hidden = !two || photos;
  $("drawn").textContent = two && !photos ? `The figure shows “${sideName(state.sides[0])}”.` : "";
  if (state.tab === "run") showRuns();
  showElsewhere();
  await refresh();
}

async function choose(choice) { // what is compared is in the address, too
  history.replaceState(null, "", `${choice === usual() ? location.pathname : `?with=${encodeURIComponent(choice)}`}${location.hash}`);
  say("", "with");
  await compareWith(choice);
}
const usual = () => state.facts.runs[1] || "";

async function compareAsAddressed() {
  const choice = new URLSearchParams(location.search).get("with") ?? usual();
  const known = [...$("compare").options].map(({ value }) => value);
  if (known.includes(choice)) { if (choice) await compareWith(choice); return; }
  say(`There is no run “${choice}” to compare with.`, "with");
  if (usual()) await compareWith(usual());
}

function showInto() {
  $("into").setAttribute("aria-pressed", state.into === 0);
  $("into-2").setAttribute("aria-pressed", state.into === 1);
}

function startCompare() {
  const choices = [["", "nothing"], ["photo", "another image"], ...state.facts.runs.slice(1).map((name) => [name, `the run ${name}`])];
  $("compare").append(...choices.map(([value, text]) => make("option", { value }, text)));
  $("compare").addEventListener("change", guarded(async () => choose($("compare").value)));
  for (const [number, id] of ["into", "into-2"].entries()) $(id).addEventListener("click", () => { state.into = number; showInto(); });
}

function startInput() {
  const zone = $("drops");
  const files = (list) => [...list].find((file) => file.type.startsWith("image/")) || list[0];
  for (const name of ["dragover", "dragenter"]) addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) addEventListener(name, () => zone.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    const file = files(event.dataTransfer.files);
    const slot = event.target.closest("#drop, #drop-2");
    if (file) take(file, file.name, null, slot ? Number(slot.id === "drop-2") : state.into);
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData && files(event.clipboardData.files);
    if (file) take(file, file.name || "pasted.png");
  });
  $("file").addEventListener("change", () => {
    const file = $("file").files[0];
    if (file) take(file, file.name);
    $("file").value = "";
  });
  $("views").addEventListener("click", () => {
    state.views = state.views === 1 ? 10 : 1;
    $("views").setAttribute("aria-checked", state.views === 10);
    showElsewhere();
    refresh();
  });
  $("mean").addEventListener("click", guarded(async () => {
    state.mean = !state.mean;
    $("mean").setAttribute("aria-checked", state.mean);
    for (const side of sides()) await showMinus(side);
  }));
  const names = state.facts.words.map((words, label) => [firstSynonym(words), state.facts.classes[label]]).sort(([a], [b]) => a.localeCompare(b));
  $("about").append(...[["the most probable one", ""], ...names].map(([text, value]) => make("option", { value }, text)));
  $("about").addEventListener("change", () => { if ($("depends").firstChild) showDepends(); });
  $("depend").addEventListener("click", showDepends);
  $("go").addEventListener("submit", (event) => { event.preventDefault(); location.hash = `${state.layer}/${$("number").value}`; });
  $("webcam").addEventListener("click", guarded(async () => { if (state.stream) stopWebcam(); else await startWebcam(); }));
}

async function showExamples() {
  const { examples } = state.facts;
  if (!examples || !examples.length) return;
  const url = await askUrl("examples.jpg");
  examples.forEach(({ row, label }, i) => {
    const name = `example-${row}.jpg`;
    $("examples").append(make("button", { type: "button", class: "tile", "data-name": name, "aria-pressed": "false",
      "aria-label": `Example ${i + 1}: ${word(label)}`, title: word(label),
      style: { "background-image": `url(${url})`, "background-position": `${(100 * i) / Math.max(1, examples.length - 1)}% 0` },
      onclick: guarded(async () => take(await (await ask(`images/${row}`)).blob(), name, label)) }));
  });
  $("examples").hidden = false;
}

async function startWebcam() {
  if (!navigator.mediaDevices) throw new Error("Browsers allow the webcam only on localhost and on https pages. "
    + `Try: ssh -L ${location.port}:localhost:${location.port} ${location.hostname}, then http://localhost:${location.port}/`);
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "environment" } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The browser does not allow this page to use the webcam." : "There is no webcam here.");
  }
  const video = $("video");
  video.srcObject = state.stream;
  await video.play();
  video.hidden = false; $("photo").hidden = true; $("invite").hidden = true; $("drop").classList.add("full");
  $("webcam").setAttribute("aria-pressed", "true");
  state.sides[0].photo = null; state.into = state.compare === "photo" ? 1 : 0;
  showInto();
  markExamples();
  $("depends").replaceChildren();
  watch(video);
}

async function watch(video) { // frame after frame, the next one when the last one is answered
  const canvas = document.createElement("canvas"), times = [];
  const side = Math.max(256, 2 * state.facts.size);
  while (state.stream) {
    const scale = Math.min(1, side / Math.min(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(scale * video.videoWidth); canvas.height = Math.round(scale * video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.9); });
    if (!state.stream) return;
    state.sides[0].photo = { blob, name: "webcam.jpg", label: null };
    const turn = ++state.turn, key = `${state.views} ${state.tab} ${state.layer}/${state.unit}`;
    const alike = state.tab === "inside" && state.compare === "photo"; // the scale of both depends on both
    const asked = sides().filter((side) => photoOf(side) && (alike || !(photoOf(side) === side.answered && side.key === key))); // a still image once
    try {
      await answerOnce(asked, () => turn === state.turn && state.stream);
      for (const side of asked) { side.answered = photoOf(side); side.key = key; }
      if (!times.length && state.tab === "inside") showLayer(true);
      say("");
    } catch (error) {
      if (error.status !== 503) { say(error.message); stopWebcam(); return; }
      await new Promise((done) => { setTimeout(done, 1000 * (error.retry || 1)); });
    }
    times.push(performance.now());
    if (times.length > 10) times.shift();
    if (times.length > 1) $("time").textContent = `${((1000 * (times.length - 1)) / (times.at(-1) - times[0])).toFixed(0)} images a second`;
    await new Promise((done) => { if (document.hidden) setTimeout(done, 500); else requestAnimationFrame(done); });
  }
}

function stopWebcam() {
  if (!state.stream) return;
  for (const track of state.stream.getTracks()) track.stop();
  state.stream = null;
  $("video").hidden = true;
  $("webcam").setAttribute("aria-pressed", "false");
  if (state.sides[0].photo) {
    $("photo").src = URL.createObjectURL(state.sides[0].photo.blob);
    $("photo").alt = "The last image of the webcam"; $("photo").hidden = false;
  }
}

// ---------------------------------------------------------------- Predict

async function showAnswer(side) {
  const { answer } = side, { label } = photoOf(side), facts = factsOf(side), verdict = at("verdict", side);
  const still = !state.stream || (side.second && state.compare === "photo");
  showBars(at("bars", side), answer);
  await showSeen(side);
  const [name, share] = answer.top[0];
  const right = label === null ? "" : answer.classes[0] === state.facts.classes[label] ? " ✓" : ` ✗ It is ${word(label)}.`;
  verdict.textContent = still ? `${firstSynonym(name)}, ${percent(share)}.${right}` : firstSynonym(name);
  verdict.setAttribute("aria-live", still ? "polite" : "off");
  verdict.title = facts.path;
  if (still && !side.second) {
    const { receiving, decoding, net } = answer.milliseconds;
    $("time").textContent = `${answer.width} × ${answer.height} pixels; ${(receiving + decoding).toFixed(0)} ms to read, ${net.toFixed(0)} ms in the net`;
    $("time").title = "Measured by the server";
  }
  showElsewhere();
}

function clearAnswer(side) {
  side.answer = null;
  side.of = null;
  at("sees", side).hidden = true;
  for (const id of ["bars", "maps", "unit"]) at(id, side).replaceChildren();
  at("verdict", side).textContent = side.second ? "" : INVITATION;
  if (side.second) return;
  $("time").textContent = "";
  for (const image of document.querySelectorAll("#figure image")) image.removeAttribute("href");
  if (state.facts.similar) inviteSimilar();
}
const INVITATION = "Give an image, and the net says what it is.";

function showBars(list, { top, classes }) { // a class keeps its bar, so that bars move instead of jumping
  const before = new Map();
  for (const item of list.children) before.set(item.dataset.name, [item, item.getBoundingClientRect().top]);
  const still = motion() === "auto";
  const items = top.map(([name, share], rank) => {
    const [item] = before.get(classes[rank]) || [make("li", { "data-name": classes[rank] },
      make("span", { title: name }, firstSynonym(name)), make("span", { class: "share" }), make("i", { "aria-hidden": "true" }))];
    item.children[1].textContent = percent(share);
    item.children[1].title = String(share);
    requestAnimationFrame(() => item.style.setProperty("--share", share));
    return item;
  });
  if (items.some((item, rank) => list.children[rank] !== item) || items.length !== list.children.length) list.replaceChildren(...items);
  if (still) return;
  for (const item of items) {
    const old = before.get(item.dataset.name);
    const moved = old ? old[1] - item.getBoundingClientRect().top : 0;
    if (moved) item.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 200, easing: "ease-out" });
  }
}

const CORNERS = (far) => [[0, 0], [0, far], [far, 0], [far, far], [far / 2, far / 2]];

async function showSeen(side) {
  const { size, crop } = factsOf(side), far = size - crop, square = at("square", side), crops = at("crops", side);
  const one = state.views === 1 || ["inside", "similar"].includes(state.tab); // maps and search are of the center crop
  square.src = side.answer.picture;
  await square.decode().catch(() => {});
  square.alt = `The square that the net's crops are cut from, ${size} by ${size} pixels`;
  const corners = one ? [[Math.floor(far / 2), Math.floor(far / 2)]] : CORNERS(far);
  crops.className = one ? "crops one" : "crops";
  crops.replaceChildren(...corners.map(([top, left]) => make("div", { style: {
    top: `${(100 * top) / size}%`, left: `${(100 * left) / size}%`, width: `${(100 * crop) / size}%`, height: `${(100 * crop) / size}%` } })));
  at("seen", side).textContent = state.compare ? `${size} × ${size} pixels, ${one ? "a crop" : "five crops"} of ${crop} × ${crop}.` : one
    ? `The image as a square of ${size} × ${size} pixels; the frame is the crop of ${crop} × ${crop}.`
    : `Five crops of ${crop} × ${crop} and their flips; the probabilities are averaged.`;
  at("sees", side).hidden = false;
  await showMinus(side);
}

async function showMinus(side) { // as the net gets it: minus the mean image; gray is no difference
  const canvas = at("minus", side), facts = factsOf(side), { size } = facts;
  canvas.hidden = !state.mean;
  if (!state.mean || !side.answer) return;
  facts.mean ||= pixelsOf(await createImageBitmap(await (await ask(to(side, "mean.png"))).blob()), size).data;
  const own = pixelsOf(at("square", side), size), { mean } = facts;
  for (let i = 0; i < own.data.length; i += 4) for (let k = i; k < i + 3; k++) own.data[k] = 128 + (own.data[k] - mean[k]) / 2;
  canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(own, 0, 0);
}

function pixelsOf(picture, size) {
  const canvas = new OffscreenCanvas(size, size), context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, size, size);
  return context.getImageData(0, 0, size, size);
}

function showElsewhere() { // what is on the screen, on the command line and for programs
  const views = state.views === 1 ? "" : ` --views ${state.views}`, query = state.views === 1 ? "predict" : `predict?views=${state.views}`;
  const asked = sides().filter(photoOf), lines = (asked.length ? asked : sides()).flatMap((side) => {
    const name = photoOf(side)?.name || "photo.jpg";
    return [`alexnet predict ${quoted(factsOf(side).path)} ${quoted(name)}${views}`,
      `${curl} --data-binary ${quoted("@" + name)} ${quoted(`${location.origin}/${to(side, query)}`)}`];
  });
  const shown = [...new Set(lines)], old = [...document.querySelectorAll("#elsewhere code")].map((line) => line.textContent);
  if (String(old) === String(shown)) return; // so that a frame of the webcam moves nothing
  $("elsewhere").replaceChildren(make("p", { class: "quiet" }, "The same on the command line and from programs:"), ...shown.map(copied));
}

// ---------------------------------------------------------------- Run

const runSides = () => ($("side-run-2").hidden ? state.sides.slice(0, 1) : state.sides);
const errorOf = ({ errors }) => errors.val || Object.values(errors)[0];

function showHead() {
  const described = (facts, name) => `${name}: net ${facts.net}, ${plural(facts.words.length, "class", "classes")}`
    + (errorOf(facts) ? `, ${errorPercent(errorOf(facts).top1_error)} error` : "");
  const [first, ...others] = state.facts.runs;
  $("what").textContent = [described(state.facts, first), ...others.map((name) => (state.others[name] ? described(state.others[name], name) : name))].join("; ");
}

function showRuns() {
  for (const side of runSides()) {
    if (side.facts !== factsOf(side)) showFacts(side);
    showCurve(side);
    showErrors(side);
  }
}

function showFacts(side) {
  const facts = side.facts = factsOf(side), error = errorOf(facts);
  at("errors", side).replaceChildren();
  side.errorsOf = null;
  const rows = {
    net: `${facts.net}, ${plural(facts.parameters, "parameter")}`,
    classes: facts.words.slice(0, 20).map(firstSynonym).join(", ") + (facts.words.length > 20 ? ", ..." : ""),
    images: `${facts.size} × ${facts.size} pixels, crops of ${facts.crop} × ${facts.crop}`,
    "trained on": facts.imported ? `weights from a ${facts.imported} file`
      : Object.entries(facts.images || {}).map(([split, images]) => `${plural(images, `${{ train: "training", val: "validation" }[split] || split} image`)}`).join(", "),
    epochs: facts.epochs && `${Number(facts.epochs.toPrecision(4))}${facts.epochs_asked ? ` of ${facts.epochs_asked}` : ""}`,
    recipe: facts.recipe_name && [facts.recipe_name, facts.recipe_differences].filter(Boolean).join(", with "),
    error: error && `${errorPercent(error.top1_error)} of ${plural(error.images, "image")}, `
      + `95% interval ${error.top1_interval.map((end) => percent(end, 1)).join(" to ")}`,
    serving: `step ${count(facts.step)}, ${facts.device}, precision ${facts.precision}`,
  };
  at("facts", side).replaceChildren(...Object.entries(rows).filter(([, text]) => text).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const recipe = Object.entries(facts.recipe || {}).filter(([, value]) => value !== null && !(Array.isArray(value) && !value.length));
  at("recipe", side).replaceChildren(...recipe.flatMap(([name, value]) => [make("dt", {}, name.replaceAll("_", "-")), make("dd", {}, String(value))]));
  at("recipe", side).parentElement.hidden = !recipe.length;
}

function showCurve(side) {
  const { train, val } = factsOf(side).curve, figure = at("curve", side), width = Math.max(280, Math.min(720, figure.clientWidth)), height = 260, left = 46, bottom = 36, right = 84, top = 10;
  figure.replaceChildren();
  if (!val.length && !train.length) { figure.append(make("p", { class: "quiet" }, "This run has no record of its training.")); return; }
  const last = Math.max(...[...train, ...val].map(([epoch]) => epoch), 1e-9);
  const x = (epoch) => left + ((width - left - right) * epoch) / last, y = (error) => top + (height - top - bottom) * (1 - error);
  const smooth = means(train, Math.max(1, Math.round(train.length / 60)));
  const drawing = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": curveText(val, train) });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) drawing.append(
    make("line", { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }),
    make("text", { class: "quiet", x: left - 8, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}%`));
  const step = [1, 2, 5, 10, 20, 50, 100, 200].find((size) => last / size <= width / 80) || 500;
  for (let epoch = 0; epoch <= last + 1e-9; epoch += step) drawing.append(
    make("text", { class: "quiet", x: x(epoch), y: height - 14, "text-anchor": "middle" }, String(epoch)));
  drawing.append(make("text", { class: "quiet", x: width - right + 12, y: height - 14 }, "epoch"));
  const ends = [];
  for (const [points, name, label] of [[smooth, "train", "training batches"], [val, "val", "validation"]]) {
    if (!points.length) continue;
    if (points.length === 1) drawing.append(make("circle", { class: name, cx: x(points[0][0]), cy: y(points[0][1]), r: 5 }));
    else drawing.append(make("path", { class: name, d: points.map(([epoch, error], i) => `${i ? "L" : "M"}${x(epoch).toFixed(1)} ${y(error).toFixed(1)}`).join("") }));
    ends.push([y(points.at(-1)[1]) + 4, label]);
  }
  ends.sort(([a], [b]) => a - b);
  ends.forEach((end, i) => { if (i && end[0] - ends[i - 1][0] < 14) end[0] = ends[i - 1][0] + 14; });
  ends.forEach((end, i) => { end[0] = Math.min(end[0], height - bottom - 14 * (ends.length - 1 - i)); });
  for (const [end, label] of ends) drawing.append(make("text", { x: width - right + 6, y: end }, label.split(" ")[0]));
  const mark = make("line", { class: "grid", y1: top, y2: height - bottom, x1: -9, x2: -9 });
  drawing.append(mark);
  const readout = make("p", { class: "quiet readout" }, curveText(val, train));
  drawing.addEventListener("pointermove", (event) => {
    const epoch = ((event.offsetX / drawing.clientWidth) * width - left) / (width - left - right) * last;
    const near = (points) => points.reduce((best, point) => (Math.abs(point[0] - epoch) < Math.abs(best[0] - epoch) ? point : best), points[0]);
    const own = val.length ? near(val) : near(train);
    mark.setAttribute("x1", x(own[0])); mark.setAttribute("x2", x(own[0]));
    readout.textContent = `Epoch ${Number(own[0].toPrecision(3))}: ` + [val.length && `validation ${errorPercent(own[1])}`,
      train.length && `training batches ${errorPercent(near(smooth)[1])}`].filter(Boolean).join(", ");
  });
  drawing.addEventListener("pointerleave", () => { readout.textContent = curveText(val, train); mark.setAttribute("x1", -9); mark.setAttribute("x2", -9); });
  figure.append(drawing, readout);
}
function means(points, several) {
  const result = [];
  for (let i = 0; i < points.length; i += several) {
    const part = points.slice(i, i + several);
    result.push([0, 1].map((k) => part.reduce((sum, point) => sum + point[k], 0) / part.length));
  }
  return result;
}
function curveText(val, train) {
  const points = val.length ? val : train;
  if (points.length === 1) return `Top-1 error was ${errorPercent(points[0][1])} on ${val.length ? "validation images" : "training batches"}.`;
  return `Top-1 error fell from ${errorPercent(points[0][1])} to ${errorPercent(points.at(-1)[1])} on ${val.length ? "validation images" : "training batches"}.`;
}

const showErrors = guarded(async (side) => {
  const box = at("errors", side), { facts } = side, current = () => side.facts === facts && runSides().includes(side);
  if (side.errorsOf === facts) return;
  if (!facts.measured) {
    box.replaceChildren(make("p", { class: "quiet" }, "The dataset that the run was trained on is missing, or has no validation images."));
    side.errorsOf = facts;
    return;
  }
  const path = to(side, "errors"), again = async () => { if (current()) await showErrors(side); };
  const measured = await passed(box, path, path, again, "Measure on");
  if (!measured || !current() || side.errorsOf === facts) return;
  side.errorsOf = facts;
  await showMeasured(side, box, measured);
});

async function passed(box, path, begin, again, verb) { // what a pass over the dataset's images gave, where it has ended; else how far it is
  const answer = await askJson(path), { images, done } = answer;
  if (answer.state === "done") return answer;
  if (answer.state === "not measured") {
    const start = guarded(async () => { await askJson(begin, { method: "POST" }); await again(); });
    if (images <= 500) await start();
    else box.replaceChildren(make("button", { type: "button", onclick: start }, `${verb} ${plural(images, "image")}`));
  } else if (answer.state === "measuring") {
    box.replaceChildren(make("p", {}, `${count(done)} of ${plural(images, "image")}`),
      make("progress", { max: images, value: done, "aria-label": "Images so far" }));
    setTimeout(again, 400);
  } else throw new Error(answer.state);
  return null;
}

async function showMeasured(side, box, measured) {
  const { facts } = side, named = (label) => word(label, facts);
  const wrong = Math.round(measured.errors.top1_error * measured.images);
  box.replaceChildren(make("p", {}, `${count(wrong)} of ${plural(measured.images, "image")} wrong: ${errorPercent(measured.errors.top1_error)} `
    + `(95% interval ${measured.errors.top1_interval.map((end) => percent(end, 1)).join(" to ")})`
    + (measured.errors.top5_error === null ? "" : `; top-5 error ${errorPercent(measured.errors.top5_error)}`)));
  if (measured.confusion) box.append(make("h2", {}, "Confusion matrix"),
    make("p", { class: "quiet" }, "Rows: true classes. Columns: predicted classes."), confusionTable(measured.confusion, facts));
  else box.append(make("h2", {}, "Most frequent confusions"), make("ul", {}, ...measured.confusions.map(([own, other, times]) =>
    make("li", {}, `true ${named(own)}, predicted ${named(other)}: ${count(times)} of ${count(measured.classes[own].images)}`))));
  if (!measured.mistakes.length) return;
  const url = await askUrl(to(side, "mistakes.jpg"));
  box.append(make("h2", {}, "Worst mistakes"), make("p", { class: "quiet" }, "Lowest probability of the true class first. Choose one to look at it."),
    make("div", { class: "mistakes" }, ...measured.mistakes.map((mistake, i) => strip(url, i,
      `Look at ${mistake.name}: predicted ${named(mistake.predicted)}, true ${named(mistake.true)}`, mistake.name, guarded(async () => {
        await take(await (await ask(to(side, `images/${mistake.row}`))).blob(), mistake.name.split("/").at(-1), side.second ? null : mistake.true, 0);
        location.hash = "predict";
      }), make("span", {}, `predicted ${named(mistake.predicted)}, ${percent(mistake.probability)}`), make("span", { class: "quiet" }, `true ${named(mistake.true)}`)))));
}

function confusionTable(matrix, facts) {
  const names = facts.words.map(firstSynonym);
  const head = make("tr", {}, make("td", { "aria-hidden": "true" }), ...names.map((name) => make("th", { scope: "col" }, make("span", {}, name))));
  const rows = matrix.map((row, own) => {
    const images = row.reduce((sum, times) => sum + times, 0) || 1;
    return make("tr", {}, make("th", { scope: "row" }, names[own]), ...row.map((times, other) => {
      const share = times / images, strong = Math.round(100 * Math.sqrt(share));
      const color = own === other ? "var(--accent)" : "var(--focus)";
      return make("td", { title: `true ${names[own]}, predicted ${names[other]}: ${times} of ${images}`, style: {
        background: `color-mix(in srgb, ${color} ${Math.min(85, strong)}%, var(--card))`,
        color: strong > 55 ? "var(--on-accent)" : "var(--ink)" } }, times ? String(times) : "");
    }));
  });
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Confusion matrix: rows are true classes, columns predicted ones" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

// ---------------------------------------------------------------- Inside

const isMain = ({ kind }) => ["convolution", "locally_connected", "fully_connected"].includes(kind);
const KINDS = { convolution: "convolution", locally_connected: "locally connected", fully_connected: "fully connected", max_pool: "max-pooling",
  average_pool: "average pooling", response_norm: "response normalization", within_map_norm: "normalization within maps" };

function showFigure() { // the paper's Figure 2: a slab for each layer, as high as its maps and as deep as it has many
  const { layers, crop, towers } = state.facts, main = layers.filter(isMain), height = 196, middle = 86;
  const side = (pixels) => 10 + 110 * Math.sqrt(pixels / crop), depth = (units) => 4 + 2.2 * Math.sqrt(units) ** 0.9;
  const drawing = make("svg", { role: "presentation" }), space = 26;
  let x = 6;
  const slab = (name, shape, text, pixels, groups) => {
    const link = make("a", { svg: true, href: name === "image" ? "#predict" : `#${name}`, "data-layer": name, "aria-label": `${name}: ${text}` });
    const parts = groups === 2 ? [-1, 1] : [0], half = parts.length === 2 ? 0.62 : 1, flat = name === "image";
    const high = pixels ? side(pixels) : 104, deep = pixels && !flat ? depth(shape[0] / groups) : 0, wide = pixels ? high * half : 18, lift = deep * 0.5;
    const room = Math.max(deep + wide, 44), start = x + (room - deep - wide) / 2; // for the caption, too
    for (const part of parts) {
      const h = high * half, top = middle - h / 2 + part * (h / 2 + 3 + lift / 2) + lift / 2, left = start;
      const face = [[left + deep, top], [left + deep + wide, top], [left + deep + wide, top + h], [left + deep, top + h]];
      if (deep) link.append(
        make("polygon", { class: "slab", points: [[left, top - lift], [left + wide, top - lift], face[1], face[0]].join(" ") }),
        make("polygon", { class: "slab", points: [[left, top - lift], face[0], face[3], [left, top - lift + h]].join(" ") }));
      link.append(make("polygon", { class: "slab", points: face.join(" ") }));
      link.append(make("svg", { class: "face", x: left + deep + 1, y: top + 1, width: wide - 2, height: h - 2, viewBox: "0 0 1 1", preserveAspectRatio: "none",
        "data-part": Math.max(0, part), "data-parts": parts.length }, make("image", { preserveAspectRatio: "none" })));
    }
    const center = x + room / 2;
    link.append(make("text", { x: center, y: height - 26, "text-anchor": "middle" }, name),
      make("text", { class: "quiet", x: center, y: height - 10, "text-anchor": "middle" }, pixels ? `${shape[0]} × ${pixels}²` : count(shape[0])));
    drawing.append(link);
    x += room + space;
  };
  slab("image", [3], `what the net sees, ${crop} × ${crop} pixels`, crop, 1);
  main.forEach((entry) => {
    const text = `${KINDS[entry.kind]}, ${entry.shape.join(" × ")}`, last = entry === main.at(-1);
    slab(entry.name, entry.shape, text, entry.shape.length === 3 ? entry.shape[1] : 0, towers === 2 && !last ? 2 : 1);
  });
  drawing.setAttribute("viewBox", `0 -8 ${x} ${height + 8}`);
  drawing.style.setProperty("max-width", `${x * 1.2}px`);
  $("figure").replaceChildren(drawing);
  const others = layers.filter((entry) => !isMain(entry));
  $("drawn").before(make("p", { class: "quiet", id: "others" }, "Between them: ", ...others.flatMap((entry, i) => [
    i ? ", " : "", make("a", { href: `#${entry.name}`, "data-layer": entry.name, title: KINDS[entry.kind] || entry.kind }, entry.name)]), "."));
  state.layer = (layers.find((entry) => entry.name === "conv1") || layers[0]).name;
}

function showLayer(anew = false) {
  for (const link of document.querySelectorAll("#panel-inside a[data-layer]")) {
    if (link.dataset.layer === state.layer) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
  showChosenLayer();
  const classes = state.unit === null ? [] : sides().filter((side) => hasLayer(side) && state.layer === factsOf(side).layers.at(-1).name);
  const called = [...new Set(classes.map((side) => word(state.unit, factsOf(side))))].join(" / ");
  $("layer-name").textContent = state.unit === null ? state.layer : `${state.layer}, unit ${state.unit}${called && `: ${called}`}`;
  $("number").max = Math.max(...layersOf().filter(({ name }) => name === state.layer).map(({ shape }) => shape[0])) - 1;
  $("number").value = state.unit ?? "";
  const runs = state.compare && state.compare !== "photo";
  $("layer-text").hidden = runs; $("own-text").hidden = $("own-text-2").hidden = !runs;
  for (const side of state.sides) {
    const text = runs ? at("own-text", side) : $("layer-text");
    if (runs || !side.second) text.textContent = ownLayer(side) ? layerText(ownLayer(side), factsOf(side)) : "";
    if (!sides().includes(side)) continue;
    if (!hasLayer(side)) { at("unit", side).replaceChildren(); showInstead(side, `This run's net has no ${unitName()}.`); }
    else if (!photoOf(side)) showInstead(side, `Give an image to see the maps of ${unitName()}.`);
  }
  const key = `${state.layer}/${state.unit}`, moved = state.shownLayer !== key;
  state.shownLayer = key;
  for (const side of state.sides) showTop(side);
  if (state.tab === "inside" && moved && !anew) refresh();
}
function showChosenLayer() { // where the drawing is wider than the window
  const box = $("figure"), link = box.querySelector("a[aria-current]");
  if (!link || box.scrollWidth <= box.clientWidth) return;
  const own = link.getBoundingClientRect(), frame = box.getBoundingClientRect();
  if (own.left < frame.left || own.right > frame.right) {
    box.scrollTo({ left: box.scrollLeft + (own.left + own.right - frame.left - frame.right) / 2, behavior: motion() });
  }
}
function layerText(entry, { crop }) {
  return [`Of crops of ${crop} × ${crop} pixels: ${KINDS[entry.kind] || entry.kind}`, entry.kernel && `kernel ${entry.kernel}`, entry.shape.length === 3
    ? `${count(entry.shape[0])} maps of ${entry.shape[1]} × ${entry.shape[2]}` : plural(entry.shape[0], "unit"),
  entry.parameters && plural(entry.parameters, "parameter"),
  entry.receptive_field && `a unit sees ${entry.receptive_field} × ${entry.receptive_field} pixels`].filter(Boolean).join("; ") + ".";
}
function showInstead(side, text) { // of maps
  at("maps", side).className = "maps";
  at("maps", side).replaceChildren(make("p", { class: "instead" }, text));
}
const quiet = (text) => make("p", { class: "quiet" }, text);
const unitName = () => (state.unit === null ? `layer ${state.layer}` : `unit ${state.unit} of ${state.layer}`);
const ownLayer = (side) => factsOf(side).layers.find(({ name }) => name === state.layer);
function hasLayer(side) {
  const own = ownLayer(side);
  return own && (state.unit === null || state.unit < own.shape[0]);
}

function mapQuestions(side, options, white = null) {
  const asks = side.second || white !== null ? [] : [askJson("maps?count=1", options)];
  if (!hasLayer(side)) return asks;
  const unit = state.unit === null ? "" : `&unit=${state.unit}`, most = state.compare ? 24 : 48;
  return [...asks, askJson(to(side, `maps?layer=${encodeURIComponent(state.layer)}&count=${most}${unit}${white === null ? "" : `&white=${white}`}`), options)];
}

function fillFace(face, url, columns, rows, part) { // with one of the pictures that stand beside or below each other in a file
  const image = face.firstChild;
  image.setAttribute("href", url);
  image.setAttribute("width", columns); image.setAttribute("height", rows);
  image.setAttribute("x", columns > 1 ? -part : 0); image.setAttribute("y", rows > 1 ? -part : 0);
}

function showFaces({ layers }) {
  for (const layer of layers) {
    const link = document.querySelector(`#figure a[data-layer="${CSS.escape(layer.layer)}"]`);
    if (!link) continue;
    for (const face of link.querySelectorAll(".face")) {
      const { part, parts } = face.dataset, maps = layer.rows > 1 || layer.columns > 1;
      fillFace(face, layer.picture, maps ? layer.strongest.length : 1, maps ? 1 : parts, part);
    }
  }
  const { size, crop } = state.facts, edge = Math.floor((size - crop) / 2) / size;
  const view = document.querySelector("#figure a[data-layer='image'] .face");
  fillFace(view, state.sides[0].answer.picture, 1, 1, 0);
  view.setAttribute("viewBox", `${edge} ${edge} ${crop / size} ${crop / size}`);
}

function showMaps(side, answers) {
  if (!side.second) showFaces(answers.shift());
  if (!answers.length || answers[0].layers[0].layer !== state.layer) return;
  const [layer] = answers[0].layers, { strongest, units, picture } = layer, facts = factsOf(side), box = at("maps", side);
  const maps = layer.rows > 1 || layer.columns > 1, several = strongest.length, highest = (layer.white ?? layer.highest) || 1;
  if (state.unit === null ? several === 1 && units > 1 : strongest[0].unit !== state.unit) return; // of another address
  const tiles = strongest.map(({ unit, value }, rank) => {
    const name = layer.layer === facts.layers.at(-1).name ? word(unit, facts) : `unit ${unit}`;
    return make("a", { class: "map", href: `#${layer.layer}/${unit}`, title: `${name}: highest value ${value}` },
      maps ? make("span", { class: "pixels", style: { "background-image": `url(${picture})`,
        "background-size": `${100 * several}% 100%`, "background-position": `${several > 1 ? (100 * rank) / (several - 1) : 0}% 0` } })
        : make("i", { style: { "--share": Math.max(0, value / highest) } }),
      make("span", {}, name, make("span", { class: "quiet" }, ` ${short(value)}`)));
  });
  const whose = layer.white === undefined ? "the layer's highest value" : "the layer's highest value in both images";
  const scale = (maps ? `Dark is 0, white is ${short(highest)}, ${whose}.` : `${state.unit === null ? "Bars are shares" : "The bar is a share"} of ${short(highest)}, ${whose}.`)
    + (state.compare && state.compare !== "photo" ? " Each run has its own scale." : "");
  box.className = `maps${maps ? "" : " values"}${state.unit === null ? "" : " single"}`;
  box.replaceChildren(...tiles);
  at("unit", side).replaceChildren(quiet(state.unit === null
    ? `The ${count(several)} strongest of ${plural(units, maps ? "map" : "unit")}; ${count(layer.active)} have a value above 0. ${scale}` : scale));
  if (state.unit !== null) at("unit", side).append(make("p", {}, make("a", { href: `#${layer.layer}` }, `All units of ${layer.layer}`)));
}

const beforeWhat = (facts, layer) => `before the ${layer === facts.layers.at(-1).name ? "soft-max" : "activation function"}`;

function showTop(side) { // what drives the unit; of a layer without an image, what drives its units
  const box = at("top", side), { layer, unit } = state, facts = factsOf(side);
  const hidden = !hasLayer(side) || (unit === null && photoOf(side)) || (side.second && (!state.compare || state.compare === "photo"));
  const key = hidden ? "" : `${facts.path} ${layer}/${unit}`;
  if (box.dataset.shows === key) return;
  box.dataset.shows = key;
  side.first = null;
  side.leave?.abort();
  side.leave = new AbortController();
  box.replaceChildren();
  if (hidden) return;
  const current = () => box.dataset.shows === key, part = (title, ...content) => {
    const inner = make("div", {}, ...content);
    box.append(make("section", {}, make("h3", {}, title), inner));
    return inner;
  };
  if (unit === null) { if (facts.units.includes(layer)) showUnits(side, part("Units, each with the image that drives it most"), current); return; }
  const images = part("Images that drive it most");
  if (facts.made.includes(layer)) {
    const made = part("An image made to drive it");
    const means = facts.units.includes(layer) ? part("Mean response by class", quiet("Shown when all images have been searched.")) : null;
    showStrongest(side, images, means, made, current);
    showMade(side, made);
    box.append(copied(`alexnet show ${quoted(facts.path)} --unit ${layer}:${unit}`));
  } else images.replaceChildren(quiet(`Only layers with weights have these images: ${facts.made.join(", ")}.`));
}

function strip(picture, i, label, title, onclick, ...texts) { // one of the pictures that stand beside each other in a file, and what is said of it
  return make("button", { type: "button", class: "hit", title, "aria-label": label, ...(onclick ? { onclick } : { disabled: "" }) },
    make("span", { class: "tile still", style: { "background-image": `url(${picture})`, "background-position": `${-96 * i}px 0`, "background-size": "auto 96px" } }), ...texts);
}
const splitName = (split) => ({ train: "training", val: "validation" }[split] || split);

const showUnits = guarded(async (side, box, current) => {
  const from = side.first ?? null, path = to(side, `units/${encodeURIComponent(state.layer)}${from === null ? "" : `?first=${from}`}`), again = async () => { if (current()) await showUnits(side, box, current); };
  const answer = await passed(box, path, to(side, "units"), again, "Search");
  if (!answer || !current()) return;
  const { shown, units, layer, picture, images, split } = answer;
  box.replaceChildren(make("div", { class: "mistakes units" }, ...shown.map(({ unit, name, value }, i) => make("a", { class: "map", href: `#${layer}/${unit}`, title: name },
    make("span", { class: "tile still", style: { "background-image": `url(${picture})`, "background-position": `${-96 * i}px 0`, "background-size": "auto 96px" } }),
    make("span", {}, `unit ${unit}`, make("span", { class: "quiet" }, ` ${short(value)}`))))),
  pages(side, box, current, units),
  quiet(`${from !== null ? unitRange(from, units) : shown.length < units ? `${count(shown.length)} of ${plural(units, "unit")}, at even distances` : `All ${plural(units, "unit")}`}; `
    + `a tile is the part that the unit sees of one of ${plural(images, `${splitName(split)} image`)}, the number its largest response, ${beforeWhat(factsOf(side), layer)}.`),
  copied(`alexnet show ${quoted(factsOf(side).path)} --layer ${layer}`));
});

const PAGE = 48;
const unitRange = (from, units) => `Units ${count(from)} to ${count(Math.min(units, from + PAGE) - 1)} of ${count(units)}`;

function pages(side, box, current, units) { // to the units before and after those that are shown; null: those at even distances
  if (units <= PAGE) return null;
  const from = side.first ?? null, before = from ? from - PAGE : null, after = from === null ? 0 : from + PAGE;
  const turn = (id, text, first) => make("button", { type: "button", "data-turn": id, onclick: async () => {
    side.first = first;
    await showUnits(side, box, current);
    (box.querySelector(`[data-turn="${id}"]`) || box.querySelector("[data-turn]"))?.focus();
  } }, text);
  return make("div", { class: "row" }, from === null ? null : turn("previous", before === null ? "Previous: at even distances" : `Previous: units ${before} to ${from - 1}`, before),
    after < units ? turn("next", `Next: units ${after} to ${Math.min(units, after + PAGE) - 1}`, after) : null);
}

const showStrongest = guarded(async (side, box, means, made, current) => {
  const { layer, unit } = state, facts = factsOf(side), again = async () => { if (current()) await showStrongest(side, box, means, made, current); };
  if (!facts.units.includes(layer)) { box.replaceChildren(quiet("The dataset that the run was trained on is missing.")); return; }
  const answer = await passed(box, to(side, `units/${encodeURIComponent(layer)}/${unit}`), to(side, "units"), again, "Search");
  if (!answer || !current()) return;
  const { strongest } = answer;
  box.replaceChildren(make("div", { class: "mistakes nine" }, ...strongest.map((image, i) => strip(answer.picture, i, `Look at ${image.name}: ${firstSynonym(image.class)}, ${short(image.value)}`, image.name,
      guarded(async () => take(await (await ask(to(side, `images/${image.row}`))).blob(), image.name.split("/").at(-1), side.second ? null : image.label, 0)),
    make("span", {}, short(image.value)), make("span", { class: "quiet" }, firstSynonym(image.class))))),
  quiet(`Of ${plural(answer.images, `${splitName(answer.split)} image`)}. A tile is the part that the unit sees, `
    + `${answer.side < facts.crop ? `${answer.side} × ${answer.side} pixels; gray is beyond the edge` : "all of the crop"}. The number is its largest response, ${beforeWhat(facts, layer)}; `
    + `it is above 0 on ${percent(answer.active)} of the images. Choose one to look at it.`));
  means.replaceChildren(...tuning(answer.means));
  made.strongest = strongest[0]?.value;
  showResponse(made);
});

const MOST_BARS = 10;

function tuning(means) { // bars from 0, of the classes that drive it most
  const measured = means.filter(([, mean]) => mean !== null).sort(([, a], [, b]) => b - a), shown = measured.slice(0, MOST_BARS);
  const values = shown.map(([, mean]) => mean), low = Math.min(0, ...values), span = Math.max(0, ...values) - low || 1;
  const mean = measured.reduce((sum, [, own]) => sum + own, 0) / measured.length;
  return [make("ol", { class: "bars means", "aria-label": "Mean response by class" }, ...shown.map(([name, own]) => make("li", {},
    make("span", { title: name }, firstSynonym(name)), make("span", { class: "share" }, short(own)),
    make("i", { "aria-hidden": "true" }, make("b", { class: own < 0 ? "below" : "", style: { left: `${(100 * (Math.min(0, own) - low)) / span}%`, width: `${(100 * Math.abs(own)) / span}%` } }))))),
  quiet(`${shown.length < measured.length ? `The first ${shown.length} of ${plural(measured.length, "class", "classes")}; the` : "The"} mean over all classes is ${short(mean)}.`)];
}

const showMade = guarded(async (side, box) => { // an image that drives the unit as far as gradient ascent gets it
  const { layer, unit } = state, { signal } = side.leave;
  if (signal.aborted) return;
  box.setAttribute("aria-live", "polite");
  const shown = make("p", { class: "quiet", "aria-live": "off" }, "Being computed. Other requests go first.");
  box.replaceChildren(shown);
  const path = to(side, `units/${encodeURIComponent(layer)}/${unit}/made`), timer = setInterval(() => showStep(side, layer, unit, shown, signal), 500);
  let made = null;
  signal.addEventListener("abort", () => clearInterval(timer));
  while (!made && !signal.aborted) {
    try {
      made = await askJson(path, { signal });
    } catch (error) {
      if (error.status !== 503) { clearInterval(timer); if (!signal.aborted) box.replaceChildren(); throw error; }
      await new Promise((done) => { setTimeout(done, 1000 * (error.retry || 1)); });
    }
  }
  clearInterval(timer);
  if (signal.aborted) return;
  box.response = made.response;
  box.how = `Gradient ascent from noise, ${beforeWhat(factsOf(side), layer)}${made.side < factsOf(side).crop ? "; shown is the part that the unit sees" : ""}.`;
  box.replaceChildren(make("figure", { class: "made" }, make("img", { src: made.picture, style: { "image-rendering": made.side < 32 ? "pixelated" : "auto" }, alt: `An image made to drive unit ${unit} of ${layer}` }),
    make("figcaption", { class: "quiet" })));
  showResponse(box);
});

async function showStep(side, layer, unit, shown, signal) {
  const { step, steps } = await askJson(to(side, `units/${encodeURIComponent(layer)}/${unit}/made/progress`), { signal }).catch(() => ({}));
  if (step && shown.isConnected) shown.textContent = `Being computed (step ${step} of ${steps}). Other requests go first.`;
}

function showResponse(box) { // to the made image, beside that to the strongest of the dataset's, when both are there
  const caption = box.querySelector("figcaption"), { response, strongest, how } = box;
  const times = strongest > 0 && response !== undefined ? `, ${fixed(response / strongest, 1)} times that to the strongest of the images` : "";
  if (caption) caption.textContent = `${how} The response is ${short(response)}${times}. It shows one thing that drives the unit, far from any photo.`;
}

// ---------------------------------------------------------------- Similar

const CODES = { itq: "ITQ", pca: "signs of principal components", hyperplanes: "random hyperplanes", autoencoder: "auto-encoder" };

function startSimilar() {
  const { codes } = state.facts.similar;
  const choices = Object.keys(CODES).flatMap((kind) => codes[kind].map((bits) => [kind, bits]));
  $("code").append(...choices.map(([kind, bits]) => make("option", { value: `code=${kind}&bits=${bits}` }, `${CODES[kind]}, ${bits} bits`)));
  const [kind, bits] = choices.findLast(([name, length]) => name === choices[0][0] && length <= 64);
  $("code").value = `code=${kind}&bits=${bits}`;
  const change = () => {
    const on = $("by-code").getAttribute("aria-checked") === "true";
    $("code").disabled = !on;
    state.code = on ? `&${$("code").value}` : "";
    if (on) $("coding").textContent = "The first search by a code computes the codes of all images, which takes a while.";
    refresh();
  };
  $("by-code").addEventListener("click", () => {
    $("by-code").setAttribute("aria-checked", $("by-code").getAttribute("aria-checked") !== "true");
    change();
  });
  $("code").addEventListener("change", change);
  inviteSimilar();
}
function inviteSimilar() {
  const { similar, runs, name } = state.facts;
  $("neighbors").replaceChildren(quiet(`Give an image to find similar ones among ${plural(similar.images, "image")}`
    + `${runs.length > 1 ? `, as “${name}” sees them` : ""}.`));
  $("coding").textContent = "";
}

const similarQuestion = (options) => askJson(`search?count=12${state.code}`, options);

function neighborTiles({ neighbors, picture }, text) {
  return make("div", { class: "mistakes" }, ...neighbors.map((neighbor, i) => {
    const name = neighbor.image.split("/").at(-1);
    return strip(picture, i, `Search by ${name}: ${[neighbor.label, text(neighbor)].filter(Boolean).join(", ")}`, neighbor.image,
      neighbor.there && guarded(async () => take(await (await ask(`similar/${neighbor.place}`)).blob(), neighbor.image, null, 0)),
      neighbor.label ? make("span", {}, neighbor.label) : null, make("span", { class: "name" }, make("bdi", { dir: "ltr" }, name)),
      make("span", { class: "quiet" }, text(neighbor), neighbor.there ? null : "; file is missing"));
  }));
}

function showSimilar(answer) {
  const { coded, neighbors, words } = answer, box = $("neighbors"), { similar, runs, name } = state.facts;
  const focused = box.contains(document.activeElement);
  const exact = neighborTiles(answer, ({ relative }) => (relative < 0.001 ? "the same picture" : `${short(relative)} × median`));
  const own = state.sides[0].photo.name;
  const lines = [`alexnet search ${quoted(similar.path)} ${quoted(own)} --count 12${coded ? " --exhaustive" : ""}`,
    `${curl} --data-binary ${quoted("@" + own)} ${quoted(`${location.origin}/search?count=12${state.code}`)}`].map(copied);
  const whose = state.compare === "photo" ? " Those of the first image." : runs.length > 1 ? ` The index was made with “${name}”.` : "";
  const note = quiet(`${plural(neighbors.length, "image")} of ${count(similar.images)}, nearest to the image or to its flip; ${words}. `
    + `Choose one to search by it.${whose}`);
  const show = (...content) => {
    box.replaceChildren(...content, note, ...lines);
    if (focused) box.querySelector("button").focus();
  };
  $("coding").textContent = "";
  if (!coded) { show(exact); return; }
  const { kind, bits, overlap, compared, within } = coded;
  $("coding").textContent = `${overlap} of the ${compared} nearest images by distance are among the ${compared} nearest by code.`
    + (within > compared ? ` ${count(within)} images have a code as near as the last of these: of equal codes, the first in the index are shown.` : "");
  show(make("div", { class: "sides" },
    make("section", { "aria-label": "By distance" }, make("h2", {}, "By distance"), exact),
    make("section", { "aria-label": "By code" }, make("h2", {}, `By code: ${CODES[kind]}, ${bits} bits`),
      neighborTiles(coded, ({ differing }) => (differing ? `${differing} of ${bits} bits differ` : "the same code")))));
}

const METHODS = {
  gradient: "How much the score changes as a pixel gets brighter. Noisy: it says little about objects.",
  SmoothGrad: "The same, averaged over eight copies of the image with noise.",
  "Grad-CAM": "Where the last maps support the class; as coarse as these maps.",
};

const showDepends = guarded(async () => {
  const box = $("depends"), button = $("depend"), asked = sides().filter(photoOf), about = $("about").value;
  if (!asked.length) { box.replaceChildren(quiet("Give an image first.")); return; }
  button.disabled = true;
  try {
    const answers = await Promise.all(asked.map((side) => askJson(to(side, `attributions${about && `?class=${encodeURIComponent(about)}`}`), { method: "POST", body: photoOf(side).blob })));
    box.replaceChildren(make("div", { class: "sides" }, ...answers.map(({ name, maps }, i) => make("section", {},
      state.compare ? make("h3", {}, sideName(asked[i])) : null, make("p", {}, `For the class ${firstSynonym(name)}:`), make("div", { class: "methods" },
        ...Object.entries(maps).map(([method, url]) => make("figure", {}, make("img", { src: url, alt: `${method} for ${firstSynonym(name)}` }),
          make("figcaption", {}, make("b", {}, method), " ", make("span", {}, METHODS[method])))))))),
    quiet("White is far from 0, dark is 0; each map has its own scale. Maps of an untrained net can look as good: "
      + "the command draws each beside that of random weights."),
    ...asked.map((side) => copied(`alexnet show ${quoted(factsOf(side).path)} ${quoted(photoOf(side).name)}${about && ` --class ${quoted(about)}`}`)));
  } finally { button.disabled = false; }
});

// ---------------------------------------------------------------- API

function exampleOf(path) { // an address of the reference that answers, with names that there are
  const { facts } = state, examples = { layer: facts.units[0] || facts.layers[0].name, unit: 0, row: facts.examples?.[0]?.row ?? 0, place: 0 };
  return path.replace(/\{(\w+)\}/g, (whole, name) => examples[name] ?? whole);
}

function commandOf(path) { // that says the same, where there is one
  const run = quoted(state.facts.path), { similar } = state.facts, layer = state.facts.units[0] || state.facts.layers[0].name;
  return { "/predict": `alexnet predict ${run} photo.jpg`, "/features": `alexnet features ${run} photo.jpg photo.npy --layer fc7`,
    "/maps": `alexnet show ${run} photo.jpg`, "/attributions": `alexnet show ${run} photo.jpg`,
    "/search": similar && `alexnet search ${quoted(similar.path)} photo.jpg --count 12`, "/run": `alexnet info ${run}`,
    "/units/{layer}": `alexnet show ${run} --layer ${layer}`, "/units/{layer}/{unit}": `alexnet show ${run} --unit ${layer}:0` }[path];
}

const showReference = guarded(async () => {
  if ($("reference").children.length) return;
  const spec = await askJson("openapi.json");
  const typeOf = (schema) => schema.enum ? schema.enum.join(", ") : schema.type || (schema.anyOf || []).map(typeOf).join(" or ");
  for (const [path, methods] of Object.entries(spec.paths)) for (const [method, operation] of Object.entries(methods)) {
    const parameters = (operation.parameters || []).map(({ name, schema, description }) => make("li", {}, make("code", {}, name),
      ` (${typeOf(schema)}${schema.default === undefined ? "" : `, default ${schema.default}`})${description || schema.description ? ": " : ""}`,
      ...marked(description || schema.description || "")));
    const kinds = Object.keys(operation.responses["200"].content || {}), ending = path.split(".")[1]
      || { "application/octet-stream": "npy", "image/png": "png", "image/jpeg": "jpg" }[kinds.find((kind) => kind !== "application/json")];
    const body = operation.requestBody ? " --data-binary @photo.jpg" : method === "post" ? " -X POST" : "";
    const file = ending ? ` -o ${path === "/features" ? "photo" : path.split("/").at(-1).split(".")[0].replace(/\W/g, "")}.${ending}` : "";
    $("reference").append(make("section", { class: "endpoint" }, make("h2", {}, make("code", {}, `${method.toUpperCase()} ${path}`)),
      make("p", {}, ...marked(operation.description || operation.summary || "")), parameters.length ? make("ul", {}, ...parameters) : null,
      copied(`${curl}${body}${file} ${quoted(location.origin + exampleOf(path))}`),
      method === (body.includes("data") ? "post" : "get") && commandOf(path) ? copied(commandOf(path)) : null));
  }
});

// ---------------------------------------------------------------- start

async function start() {
  state.facts = await askJson("run");
  $("tab-inside").hidden = !state.facts.inside;
  $("tab-similar").hidden = !state.facts.similar;
  if (state.facts.similar) startSimilar();
  startTabs();
  startInput();
  startCompare();
  showHead();
  showFigure();
  await compareAsAddressed();
  route();
  showElsewhere();
  await showExamples();
  document.documentElement.dataset.ready = "yes";
}
guarded(start)();
