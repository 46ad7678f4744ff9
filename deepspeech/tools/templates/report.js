// Plays utterances and single words, follows them in the picture, and sorts.
"use strict";

let playing = null; // the sound that plays, and where it stops

function play(audio, start, end = Infinity) {
  if (playing && playing.audio !== audio) playing.audio.pause();
  playing = { audio, end };
  const begin = () => { audio.currentTime = start; audio.play(); };
  if (audio.readyState) begin();
  else { audio.addEventListener("loadedmetadata", begin, { once: true }); audio.load(); }
}

function follow() {
  if (playing) {
    const { audio, end } = playing, line = audio.closest("article").querySelector(".playhead");
    if (audio.currentTime >= end) audio.pause();
    line.hidden = !audio.currentTime;
    line.style.left = `${100 * audio.currentTime / (audio.duration || 1)}%`;
  }
  requestAnimationFrame(follow);
}

for (const article of document.querySelectorAll("article")) {
  const audio = article.querySelector("audio");
  for (const word of article.querySelectorAll("button"))
    word.addEventListener("click", () => play(audio, Number(word.dataset.start), Number(word.dataset.end)));
  const picture = article.querySelector(".picture");
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    play(audio, (event.clientX - box.left) / box.width * Number(article.dataset.seconds));
  });
  audio.addEventListener("play", () => { if (!playing || playing.audio !== audio) playing = { audio, end: Infinity }; });
}

document.getElementById("sort").addEventListener("change", ({ target: { value } }) => {
  const all = document.getElementById("utterances"), data = (each) => each.dataset[value];
  const order = value === "name" ? (a, b) => data(a).localeCompare(data(b)) : (a, b) => data(b) - data(a);
  all.append(...[...all.children].sort(order));
});

follow();
