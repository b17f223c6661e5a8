// The page of `alexnet serve`: no framework, nothing from elsewhere. Every number is the server's.

const $ = (id) => document.getElementById(id);
const state = { facts: null, blob: null, name: "photo.jpg", label: null, views: 1, mean: false, answer: null, layer: null, unit: null,
  stream: null, turn: 0, still: true };
const token = takeToken();

// ---------------------------------------------------------------- small helpers

function make(tag, attributes = {}, ...children) {
  const space = ["svg", "g", "path", "line", "text", "rect", "image", "polygon", "defs", "clipPath"].includes(tag) || attributes.svg;
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
const percent = (share) => {
  if (share > 0 && share < 0.0001) return "<0.01%";
  return (100 * share).toFixed(share === 0 || share === 1 ? 0 : share >= 0.01 ? 1 : 2) + "%";
};
const count = (number) => number.toLocaleString("en-US");
const plural = (number, one, many = one + "s") => `${count(number)} ${number === 1 ? one : many}`;
const firstSynonym = (words) => words.split(", ")[0];
const word = (label) => firstSynonym(state.facts.words[label]);

function takeToken() { // from the address, so that it is in no link that is copied from there
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem("token", decodeURIComponent(found[1]));
    history.replaceState(null, "", location.pathname);
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

function say(words) {
  $("problem").hidden = !words;
  $("problem").textContent = words || "";
}
const guarded = (work) => async (...given) => {
  try { await work(...given); } catch (error) { if (error.name !== "AbortError") say(error.message); }
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

function route() {
  const [first, second] = decodeURIComponent(location.hash.slice(1)).split("/");
  const layer = state.facts.layers.find((entry) => entry.name === first);
  const tab = layer ? "inside" : TABS.includes(first) && !$(`tab-${first}`).hidden ? first : "predict";
  for (const name of TABS) {
    const chosen = name === tab;
    $(`tab-${name}`).setAttribute("aria-selected", chosen);
    $(`tab-${name}`).tabIndex = chosen ? 0 : -1;
    $(`panel-${name}`).hidden = !chosen;
  }
  document.title = `${tab === "predict" ? "" : (layer ? first : $(`tab-${tab}`).textContent) + " - "}${state.facts.name} - AlexNet`;
  if (layer) { state.layer = layer.name; state.unit = /^\d+$/.test(second || "") ? Number(second) : null; }
  if (tab === "inside") showLayer();
  if (tab === "run") { showCurve(state.facts.curve); showErrors(); }
  if (tab === "api") showReference();
  if (state.tab !== tab) { state.tab = tab; refresh(); }
}

function startTabs() {
  const shown = () => TABS.filter((name) => !$(`tab-${name}`).hidden);
  for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => { location.hash = name; });
  $("tabs").addEventListener("keydown", (event) => {
    const names = shown(), place = names.indexOf(state.tab);
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const name = names[(to + names.length) % names.length];
    location.hash = name;
    $(`tab-${name}`).focus();
  });
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $(`panel-${state.tab}`).focus(); });
  addEventListener("hashchange", route);
  addEventListener("resize", () => { if (state.tab === "run") showCurve(state.facts.curve); });
}

// ---------------------------------------------------------------- the image: a file, the clipboard, an example, the webcam

async function take(blob, name, label = null) {
  stopWebcam();
  state.blob = blob; state.name = name; state.label = label; state.still = true;
  const photo = $("photo");
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(blob);
  photo.alt = `The image: ${name}`;
  photo.hidden = false; $("invite").hidden = true; $("drop").classList.add("full");
  for (const tile of $("examples").children) tile.setAttribute("aria-pressed", tile.dataset.name === name);
  $("depends").replaceChildren();
  await refresh();
}

async function refresh() { // asks what the shown tab needs of the image that is there; the latest question counts
  if (!state.blob) return;
  const turn = ++state.turn;
  try {
    await answerOnce(state.blob, () => turn === state.turn);
    say("");
  } catch (error) {
    if (turn !== state.turn) return;
    if (error.status === 503) setTimeout(() => { if (turn === state.turn) refresh(); }, 1000 * (error.retry || 1));
    if (error.status === 400 || error.status === 413) { $("photo").hidden = true; $("sees").hidden = true; clearAnswer(); }
    say(error.message);
  }
}

async function answerOnce(blob, current) {
  const options = { method: "POST", body: blob };
  const asks = [askJson(`predict?views=${state.views}&picture=true`, options)];
  if (state.tab === "inside") asks.push(...mapQuestions(options));
  if (state.tab === "similar") asks.push(similarQuestion(options));
  const [answer, ...others] = await Promise.all(asks);
  if (!current()) return;
  state.answer = answer;
  await showAnswer(answer);
  if (state.tab === "inside" && others.length) showMaps(others);
  if (state.tab === "similar" && others.length) showSimilar(others[0]);
}

function startInput() {
  const zone = $("drop");
  const files = (list) => [...list].find((file) => file.type.startsWith("image/")) || list[0];
  for (const name of ["dragover", "dragenter"]) addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) addEventListener(name, () => zone.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    const file = files(event.dataTransfer.files);
    if (file) take(file, file.name);
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
    await showMinus();
  }));
  $("depend").addEventListener("click", showDepends);
  $("webcam").addEventListener("click", guarded(async () => { if (state.stream) stopWebcam(); else await startWebcam(); }));
}

async function showExamples() {
  const { examples } = state.facts;
  if (!examples || !examples.length) return;
  const url = await askUrl("examples.jpg");
  examples.forEach(({ row, label }, place) => {
    const name = `example-${row}.jpg`;
    $("examples").append(make("button", { type: "button", class: "tile", "data-name": name, "aria-pressed": "false",
      "aria-label": `Example ${place + 1}: ${word(label)}`, title: word(label),
      style: { "background-image": `url(${url})`, "background-position": `${(100 * place) / Math.max(1, examples.length - 1)}% 0` },
      onclick: guarded(async () => take(await (await ask(`images/${row}`)).blob(), name, label)) }));
  });
  $("examples").hidden = false;
}

async function startWebcam() {
  if (!navigator.mediaDevices) throw new Error("A browser gives the webcam only to localhost and to https pages. "
    + `Try: ssh -L ${location.port}:localhost:${location.port} ${location.hostname}, then http://localhost:${location.port}/`);
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "environment" } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The browser was told not to give the webcam to this page." : "There is no webcam here.");
  }
  const video = $("video");
  video.srcObject = state.stream;
  await video.play();
  state.name = "webcam.jpg"; state.label = null; state.still = false;
  video.hidden = false; $("photo").hidden = true; $("invite").hidden = true; $("drop").classList.add("full");
  $("webcam").setAttribute("aria-pressed", "true");
  for (const tile of $("examples").children) tile.setAttribute("aria-pressed", "false");
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
    state.blob = blob;
    const turn = ++state.turn;
    try {
      await answerOnce(blob, () => turn === state.turn && state.stream);
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
  if (state.blob) {
    $("photo").src = URL.createObjectURL(state.blob);
    $("photo").alt = "The last image of the webcam"; $("photo").hidden = false;
    state.still = true;
  }
}

// ---------------------------------------------------------------- Predict

async function showAnswer(answer) {
  showBars(answer);
  await showSeen(answer);
  const [name, share] = answer.top[0];
  const right = state.label === null ? "" : answer.classes[0] === state.facts.classes[state.label] ? " ✓" : ` ✗ It is ${word(state.label)}.`;
  if (state.still) {
    $("verdict").textContent = `${firstSynonym(name)}, ${percent(share)}.${right}`;
    const { receiving, decoding, net } = answer.milliseconds;
    $("time").textContent = `${answer.width} × ${answer.height} pixels; ${(receiving + decoding).toFixed(0)} ms to read, ${net.toFixed(0)} ms in the net`;
    $("time").title = "Measured by the server";
  } else $("verdict").textContent = firstSynonym(name);
  $("verdict").setAttribute("aria-live", state.still ? "polite" : "off");
  showElsewhere();
}

function clearAnswer() {
  $("bars").replaceChildren();
  $("verdict").textContent = "";
  $("time").textContent = "";
}

function showBars({ top, classes }) { // a class keeps its bar, so that bars move instead of jumping
  const list = $("bars"), before = new Map();
  for (const item of list.children) before.set(item.dataset.name, [item, item.getBoundingClientRect().top]);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const items = top.map(([name, share], rank) => {
    const [item] = before.get(classes[rank]) || [make("li", { "data-name": classes[rank] },
      make("span", { title: name }, firstSynonym(name)), make("span", { class: "share" }), make("i", { "aria-hidden": "true" }))];
    item.children[1].textContent = percent(share);
    item.children[1].title = String(share);
    requestAnimationFrame(() => item.style.setProperty("--share", share));
    return item;
  });
  if (items.some((item, place) => list.children[place] !== item) || items.length !== list.children.length) list.replaceChildren(...items);
  if (still) return;
  for (const item of items) {
    const old = before.get(item.dataset.name);
    const moved = old ? old[1] - item.getBoundingClientRect().top : 0;
    if (moved) item.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 200, easing: "ease-out" });
  }
}

const CORNERS = (far) => [[0, 0], [0, far], [far, 0], [far, far], [far / 2, far / 2]];

async function showSeen(answer) {
  const { size, crop } = state.facts, far = size - crop;
  $("square").src = answer.picture;
  await $("square").decode().catch(() => {});
  $("square").alt = `The square that the net's crops are cut from, ${size} by ${size} pixels`;
  const places = state.views === 1 ? [[Math.floor(far / 2), Math.floor(far / 2)]] : CORNERS(far);
  $("crops").className = state.views === 1 ? "one" : "";
  $("crops").replaceChildren(...places.map(([top, left]) => make("div", { style: {
    top: `${(100 * top) / size}%`, left: `${(100 * left) / size}%`, width: `${(100 * crop) / size}%`, height: `${(100 * crop) / size}%` } })));
  $("seen").textContent = state.views === 1
    ? `The image as a square of ${size} × ${size} pixels; the frame is the crop of ${crop} × ${crop}.`
    : `Five crops of ${crop} × ${crop} and their mirror images; the answers are averaged.`;
  $("sees").hidden = false;
  await showMinus();
}

async function showMinus() { // as the net gets it: minus the mean image; gray is no difference
  $("minus").hidden = !state.mean;
  if (!state.mean || !state.answer) return;
  const { size } = state.facts, canvas = $("minus");
  if (!state.meanPixels) {
    const picture = await createImageBitmap(await (await ask("mean.png")).blob());
    state.meanPixels = pixelsOf(picture, size);
  }
  const own = pixelsOf($("square"), size), mean = state.meanPixels.data;
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
  const views = state.views === 1 ? "" : ` --views ${state.views}`, query = state.views === 1 ? "" : `?views=${state.views}`;
  const secret = token ? " -H \"Authorization: Bearer $ALEXNET_TOKEN\"" : "";
  $("elsewhere").replaceChildren(make("p", { class: "quiet" }, "The same on the command line, and for programs:"),
    copied(`alexnet predict ${quoted(state.facts.path)} ${quoted(state.name)}${views}`),
    copied(`curl${secret} --data-binary ${quoted("@" + state.name)} ${quoted(`${location.origin}/predict${query}`)}`));
}

// ---------------------------------------------------------------- Run

function showFacts() {
  const facts = state.facts, error = facts.errors.val || Object.values(facts.errors)[0];
  $("what").textContent = `${facts.name}: net ${facts.net}, ${plural(facts.words.length, "class", "classes")}`
    + (error ? `, ${percent(error.top1_error)} error` : "");
  const rows = {
    net: `${facts.net}, ${plural(facts.parameters, "parameter")}`,
    classes: facts.words.slice(0, 20).map(firstSynonym).join(", ") + (facts.words.length > 20 ? ", ..." : ""),
    images: `${facts.size} × ${facts.size} pixels, crops of ${facts.crop} × ${facts.crop}`,
    "trained on": facts.imported ? `weights from a ${facts.imported} file`
      : Object.entries(facts.images || {}).map(([split, images]) => `${plural(images, `${{ train: "training", val: "validation" }[split] || split} image`)}`).join(", "),
    epochs: facts.epochs && `${Number(facts.epochs.toPrecision(4))}${facts.epochs_asked ? ` of ${facts.epochs_asked}` : ""}`,
    recipe: facts.recipe_name && [facts.recipe_name, facts.recipe_differences].filter(Boolean).join(", with "),
    error: error && `${percent(error.top1_error)} of ${plural(error.images, "image")}, `
      + `95% interval ${error.top1_interval.map(percent).join(" to ")}`,
    "here": `step ${count(facts.step)}, ${facts.device}, precision ${facts.precision}`,
  };
  $("facts").append(...Object.entries(rows).filter(([, text]) => text).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const recipe = Object.entries(facts.recipe || {}).filter(([, value]) => value !== null && !(Array.isArray(value) && !value.length));
  $("recipe").append(...recipe.flatMap(([name, value]) => [make("dt", {}, name.replaceAll("_", "-")), make("dd", {}, String(value))]));
  $("recipe").parentElement.hidden = !recipe.length;
}

function showCurve({ train, val }) {
  const figure = $("curve"), width = Math.max(280, Math.min(720, figure.clientWidth)), height = 260, left = 46, bottom = 36, right = 84, top = 10;
  figure.replaceChildren();
  if (!val.length && !train.length) { figure.append(make("p", { class: "quiet" }, "Nothing says how it was trained.")); return; }
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
    drawing.append(make("path", { class: name, d: points.map(([epoch, error], i) => `${i ? "L" : "M"}${x(epoch).toFixed(1)} ${y(error).toFixed(1)}`).join("") }));
    ends.push([y(points.at(-1)[1]) + 4, label]);
  }
  ends.sort(([a], [b]) => a - b);
  ends.forEach((end, i) => { if (i && end[0] - ends[i - 1][0] < 14) end[0] = ends[i - 1][0] + 14; });
  for (const [place, label] of ends) drawing.append(...label.split(" ").map((part, i) => (i ? null : make("text", { x: width - right + 6, y: Math.min(place, height - bottom) }, part))).filter(Boolean));
  const mark = make("line", { class: "grid", y1: top, y2: height - bottom, x1: -9, x2: -9 });
  drawing.append(mark);
  const readout = make("p", { class: "quiet readout" }, curveText(val, train));
  drawing.addEventListener("pointermove", (event) => {
    const epoch = ((event.offsetX / drawing.clientWidth) * width - left) / (width - left - right) * last;
    const near = (points) => points.reduce((best, point) => (Math.abs(point[0] - epoch) < Math.abs(best[0] - epoch) ? point : best), points[0]);
    const own = val.length ? near(val) : near(train);
    mark.setAttribute("x1", x(own[0])); mark.setAttribute("x2", x(own[0]));
    readout.textContent = `Epoch ${Number(own[0].toPrecision(3))}: ` + [val.length && `validation ${percent(own[1])}`,
      train.length && `training batches ${percent(near(smooth)[1])}`].filter(Boolean).join(", ");
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
  return `Top-1 error fell from ${percent(points[0][1])} to ${percent(points.at(-1)[1])} on ${val.length ? "validation images" : "training batches"}.`;
}

const showErrors = guarded(async () => {
  if (state.errorsShown) return;
  const box = $("errors");
  if (!state.facts.measured) {
    box.replaceChildren(make("p", { class: "quiet" }, "The dataset that the run was trained on is not there, or has no validation images."));
    state.errorsShown = true;
    return;
  }
  const told = await askJson("errors");
  if (told.state === "not measured") {
    const words = `Measure on ${plural(told.images, "image")}`;
    const begin = guarded(async () => { await askJson("errors", { method: "POST" }); await showErrors(); });
    if (told.images <= 500) { await begin(); return; }
    box.replaceChildren(make("button", { type: "button", onclick: begin }, words));
  } else if (told.state === "measuring") {
    box.replaceChildren(make("p", {}, `${count(told.done)} of ${plural(told.images, "image")}`),
      make("progress", { max: told.images, value: told.done, "aria-label": "Measured so far" }));
    setTimeout(showErrors, 400);
  } else if (told.state === "done") {
    state.errorsShown = true;
    await showMeasured(box, told);
  } else throw new Error(told.state);
});

async function showMeasured(box, told) {
  const wrong = Math.round(told.errors.top1_error * told.images);
  box.replaceChildren(make("p", {}, `${count(wrong)} of ${plural(told.images, "image")} wrong: ${percent(told.errors.top1_error)} `
    + `(95% interval ${told.errors.top1_interval.map(percent).join(" to ")})`
    + (told.errors.top5_error === null ? "" : `; right class not among five: ${percent(told.errors.top5_error)}`)));
  if (told.confusion) box.append(make("h2", {}, "Which class is taken for which"),
    make("p", { class: "quiet" }, "Rows: true classes. Columns: the net's answers."), confusionTable(told.confusion));
  else box.append(make("h2", {}, "Most frequent confusions"), make("ul", {}, ...told.confusions.map(([own, other, times]) =>
    make("li", {}, `${word(own)} taken for ${word(other)}: ${count(times)} of ${count(told.classes[own].images)}`))));
  if (!told.mistakes.length) return;
  const url = await askUrl("mistakes.jpg");
  box.append(make("h2", {}, "Worst mistakes"), make("p", { class: "quiet" }, "Those that give their true class least, first. Choose one to look at it."),
    make("div", { class: "mistakes" }, ...told.mistakes.map((mistake, place) => make("div", {},
      make("button", { type: "button", class: "tile", "aria-label": `Look at ${mistake.name}: ${word(mistake.true)}, taken for ${word(mistake.predicted)}`,
        style: { "background-image": `url(${url})`, "background-position": `${-96 * place}px 0`, "background-size": "auto 96px" },
        onclick: guarded(async () => {
          await take(await (await ask(`images/${mistake.row}`)).blob(), mistake.name.split("/").at(-1), mistake.true);
          location.hash = "predict";
        }) }),
      make("p", {}, `${word(mistake.predicted)} ${percent(mistake.probability)}`),
      make("p", { class: "quiet" }, `is ${word(mistake.true)}`)))));
}

function confusionTable(matrix) {
  const names = state.facts.words.map(firstSynonym);
  const head = make("tr", {}, make("td", { "aria-hidden": "true" }), ...names.map((name) => make("th", { scope: "col" }, make("span", {}, name))));
  const rows = matrix.map((row, own) => {
    const images = row.reduce((sum, times) => sum + times, 0) || 1;
    return make("tr", {}, make("th", { scope: "row" }, names[own]), ...row.map((times, other) => {
      const share = times / images, strong = Math.round(100 * Math.sqrt(share));
      const color = own === other ? "var(--accent)" : "var(--focus)";
      return make("td", { title: `${names[own]} taken for ${names[other]}: ${times} of ${images}`, style: {
        background: `color-mix(in srgb, ${color} ${Math.min(85, strong)}%, var(--card))`,
        color: strong > 55 ? "var(--on-accent)" : "var(--ink)" } }, times ? String(times) : "");
    }));
  });
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Confusion matrix: rows are true classes, columns the net's answers" },
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
    for (const part of parts) {
      const h = high * half, top = middle - h / 2 + part * (h / 2 + 3 + lift / 2) + lift / 2, left = x;
      const face = [[left + deep, top], [left + deep + wide, top], [left + deep + wide, top + h], [left + deep, top + h]];
      if (deep) link.append(
        make("polygon", { class: "slab", points: [[left, top - lift], [left + wide, top - lift], face[1], face[0]].join(" ") }),
        make("polygon", { class: "slab", points: [[left, top - lift], face[0], face[3], [left, top - lift + h]].join(" ") }));
      link.append(make("polygon", { class: "slab", points: face.join(" ") }));
      link.append(make("svg", { class: "face", x: left + deep + 1, y: top + 1, width: wide - 2, height: h - 2, viewBox: "0 0 1 1", preserveAspectRatio: "none",
        "data-place": Math.max(0, part), "data-parts": parts.length }, make("image", { preserveAspectRatio: "none" })));
    }
    const center = x + (deep + wide) / 2;
    link.append(make("text", { x: center, y: height - 26, "text-anchor": "middle" }, name),
      make("text", { class: "quiet", x: center, y: height - 10, "text-anchor": "middle" }, pixels ? `${shape[0]} × ${pixels}²` : count(shape[0])));
    drawing.append(link);
    x += Math.max(deep + wide, 44) + space;
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
  $("figure").after(make("p", { class: "quiet", id: "others" }, "Between them: ", ...others.flatMap((entry, place) => [
    place ? ", " : "", make("a", { href: `#${entry.name}`, "data-layer": entry.name, title: KINDS[entry.kind] || entry.kind }, entry.name)]), "."));
  state.layer = (layers.find((entry) => entry.name === "conv1") || layers[0]).name;
}

function showLayer() {
  const entry = state.facts.layers.find(({ name }) => name === state.layer);
  for (const link of document.querySelectorAll("#panel-inside a[data-layer]")) {
    if (link.dataset.layer === entry.name) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
  $("layer-name").textContent = state.unit === null ? entry.name : `${entry.name}, unit ${state.unit}`;
  $("layer-text").textContent = [KINDS[entry.kind] || entry.kind, entry.kernel && `kernel ${entry.kernel}`, entry.shape.length === 3
    ? `${count(entry.shape[0])} maps of ${entry.shape[1]} × ${entry.shape[2]}` : plural(entry.shape[0], "unit"),
  entry.parameters && plural(entry.parameters, "parameter"),
  entry.receptive_field && `a unit sees ${entry.receptive_field} × ${entry.receptive_field} pixels`].filter(Boolean).join("; ") + ".";
  if (!state.blob) $("maps").replaceChildren(make("p", { class: "quiet" }, "Give an image to see what the layer makes of it."));
  const key = `${state.layer}/${state.unit}`;
  if (state.shownLayer !== key) { state.shownLayer = key; if (state.tab === "inside") refresh(); }
}

function mapQuestions(options) {
  const unit = state.unit === null ? "" : `&unit=${state.unit}`;
  return [askJson("maps?count=1", options), askJson(`maps?layer=${encodeURIComponent(state.layer)}&count=48${unit}`, options)];
}

function fillFace(face, url, columns, rows, place) { // with one of the pictures that stand beside or below each other in a file
  const image = face.firstChild;
  image.setAttribute("href", url);
  image.setAttribute("width", columns); image.setAttribute("height", rows);
  image.setAttribute("x", columns > 1 ? -place : 0); image.setAttribute("y", rows > 1 ? -place : 0);
}

function showMaps([all, one]) {
  for (const told of all.layers) {
    const link = document.querySelector(`#figure a[data-layer="${CSS.escape(told.layer)}"]`);
    if (!link) continue;
    for (const face of link.querySelectorAll(".face")) {
      const { place, parts } = face.dataset, maps = told.rows > 1 || told.columns > 1;
      fillFace(face, told.picture, maps ? told.strongest.length : 1, maps ? 1 : parts, place);
    }
  }
  const { size, crop } = state.facts, edge = Math.floor((size - crop) / 2) / size;
  const view = document.querySelector("#figure a[data-layer='image'] .face");
  fillFace(view, state.answer.picture, 1, 1, 0);
  view.setAttribute("viewBox", `${edge} ${edge} ${crop / size} ${crop / size}`);
  const [told] = one.layers, box = $("maps");
  if (told.layer !== state.layer) return;
  const maps = told.rows > 1 || told.columns > 1, places = told.strongest.length, highest = told.highest || 1;
  box.className = maps ? "" : "values";
  const tiles = told.strongest.map(({ unit, value }, place) => {
    const name = told.layer === state.facts.layers.at(-1).name ? word(unit) : `unit ${unit}`;
    const text = Number(value.toPrecision(3)).toString();
    return make("a", { class: "map", href: `#${told.layer}/${unit}`, title: `${name}: highest number ${value}` },
      maps ? make("span", { class: "pixels", style: { "background-image": `url(${told.picture})`,
        "background-size": `${100 * places}% 100%`, "background-position": `${places > 1 ? (100 * place) / (places - 1) : 0}% 0` } })
        : make("i", { style: { "--share": Math.max(0, value / highest) } }),
      make("span", {}, name, make("span", { class: "quiet" }, ` ${text}`)));
  });
  box.replaceChildren(...tiles);
  $("unit").replaceChildren(...[make("p", { class: "quiet" }, state.unit === null
    ? `The ${count(places)} strongest of ${plural(told.units, maps ? "map" : "unit")}; ${count(told.active)} have a number above 0. `
      + (maps ? `Dark is 0, white is ${Number(told.highest.toPrecision(3))}, the layer's highest number.` : "Bars are shares of the highest number.")
    : "Dark is 0, white is the layer's highest number."),
  state.unit === null ? null : make("p", {}, make("a", { href: `#${told.layer}` }, `All units of ${told.layer}`))].filter(Boolean));
  box.classList.toggle("single", state.unit !== null);
}

const similarQuestion = (options) => askJson("search?count=12", options);

function showSimilar(told) {
  const place = told.neighbors.length, box = $("panel-similar");
  box.replaceChildren(make("div", { class: "mistakes" }, ...told.neighbors.map((neighbor, i) => make("div", {},
    make("span", { class: "tile still", role: "img", "aria-label": `Similar image ${i + 1}: ${neighbor.image}`, title: neighbor.image,
      style: { "background-image": `url(${told.picture})`, "background-position": `${-96 * i}px 0`, "background-size": "auto 96px" } }),
    make("p", {}, neighbor.label || neighbor.image.split("/").at(-1)),
    make("p", { class: "quiet", title: `distance ${neighbor.distance}` }, neighbor.relative < 0.001 ? "the same picture"
      : `${Number(neighbor.relative.toPrecision(2))} of the median`, neighbor.there ? null : "; not there any more")))),
  make("p", { class: "quiet" }, `${plural(place, "image")} of ${count(state.facts.similar.images)}; ${told.words}.`),
  copied(`curl --data-binary ${quoted("@" + state.name)} ${quoted(`${location.origin}/search?count=12`)}`));
}

const METHODS = {
  gradient: "How much the score changes where a pixel gets brighter. Noisy: it says little of objects.",
  SmoothGrad: "The same, averaged over eight copies of the image with noise.",
  "Grad-CAM": "Where the last maps speak for the class; as coarse as these maps.",
};

const showDepends = guarded(async () => {
  const box = $("depends"), button = $("depend");
  if (!state.blob) { say("Give an image first."); return; }
  button.disabled = true;
  try {
    const told = await askJson("attributions", { method: "POST", body: state.blob });
    box.replaceChildren(make("p", {}, `For the class ${firstSynonym(told.name)}:`), make("div", { class: "methods" },
      ...Object.entries(told.maps).map(([name, url]) => make("figure", {}, make("img", { src: url, alt: `${name} for ${firstSynonym(told.name)}` }),
        make("figcaption", {}, make("b", {}, name), " ", make("span", {}, METHODS[name]))))),
    make("p", { class: "quiet" }, "White is far from 0, dark is 0; each map has its own scale. Maps of a net that learned nothing can look as good: "
      + "the command draws each beside that of random weights."), copied(`alexnet show ${quoted(state.facts.path)} ${quoted(state.name)}`));
  } finally { button.disabled = false; }
});

// ---------------------------------------------------------------- API

const showReference = guarded(async () => {
  if ($("reference").children.length) return;
  const spec = await askJson("openapi.json");
  const typeOf = (schema) => schema.enum ? schema.enum.join(", ") : schema.type || (schema.anyOf || []).map(typeOf).join(" or ");
  for (const [path, methods] of Object.entries(spec.paths)) for (const [method, told] of Object.entries(methods)) {
    const parameters = (told.parameters || []).map(({ name, schema, description }) => make("li", {}, make("code", {}, name),
      ` (${typeOf(schema)}${schema.default === undefined ? "" : `, default ${schema.default}`}): ${description || schema.description || ""}`));
    const body = told.requestBody ? " --data-binary @photo.jpg" : method === "post" ? " -X POST" : "";
    $("reference").append(make("section", { class: "endpoint" }, make("h2", {}, make("code", {}, `${method.toUpperCase()} ${path}`)),
      make("p", {}, told.description || told.summary || ""), parameters.length ? make("ul", {}, ...parameters) : null,
      copied(`curl${body} ${quoted(location.origin + path)}`)));
  }
});

// ---------------------------------------------------------------- start

async function start() {
  state.facts = await askJson("run");
  $("tab-inside").hidden = !state.facts.inside;
  $("tab-similar").hidden = !state.facts.similar;
  if (state.facts.similar) $("panel-similar").append(make("p", { class: "quiet" }, `Give an image to find similar ones among ${plural(state.facts.similar.images, "image")}.`));
  startTabs();
  startInput();
  showFacts();
  showFigure();
  route();
  showElsewhere();
  await showExamples();
  document.documentElement.dataset.ready = "yes";
}
guarded(start)();
