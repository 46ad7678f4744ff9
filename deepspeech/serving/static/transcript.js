// What a transcript can be saved as. Words are {word, start, end, confidence}, times in seconds.

const LONGEST = 7, WIDEST = 84, PAUSE = 1; // seconds and characters of a subtitle; seconds that end one

export function cues(words) {
  const found = [];
  for (const word of words) {
    const last = found.at(-1);
    const fits = last && word.end - last.start <= LONGEST && last.text.length + word.word.length < WIDEST
      && word.start - last.end < PAUSE;
    if (fits) Object.assign(last, { end: word.end, text: `${last.text} ${word.word}` });
    else found.push({ start: word.start, end: word.end, text: word.word });
  }
  return found;
}

function clock(seconds, point) {
  const total = Math.round(1000 * seconds), pad = (value, size) => String(value).padStart(size, "0");
  const [minutes, rest] = [Math.floor(total / 60000), total % 60000];
  return `${pad(Math.floor(minutes / 60), 2)}:${pad(minutes % 60, 2)}:${pad(Math.floor(rest / 1000), 2)}${point}${pad(rest % 1000, 3)}`;
}

const times = (cue, point) => `${clock(cue.start, point)} --> ${clock(cue.end, point)}`;
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

export const FORMATS = {
  txt: ({ text }) => `${text}\n`,
  srt: ({ words }) => cues(words).map((cue, index) => `${index + 1}\n${times(cue, ",")}\n${cue.text}\n`).join("\n"),
  vtt: ({ words }) => ["WEBVTT\n", ...cues(words).map((cue) => `${times(cue, ".")}\n${escaped(cue.text)}\n`)].join("\n"),
  json: (transcript) => `${JSON.stringify(transcript, null, 1)}\n`,
};

export function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
