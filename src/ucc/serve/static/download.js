// Results as files, named and laid out as `ucc segment` writes them.

const DIGITS = 1e8; // one pixel of a hundred megapixels is 1e-8

/** Let the browser save `blob`. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The picture's name without folder and ending. */
export const stem = (name) => name.replace(/^.*[/\\]/, "").replace(/(.)\.[^.]*$/, "$1");

/** One row of the shares of all classes, and the mean uncertainty. */
export function sharesCsv({ name, classes, mean_uncertainty: mean }) {
  const rows = [
    ["image", ...classes.map((entry) => entry.name), "mean_uncertainty"],
    [name, ...classes.map(({ share }) => rounded(share)), rounded(mean)],
  ];
  return new Blob([rows.map((row) => `${row.map(quoted).join(",")}\n`).join("")], { type: "text/csv" });
}

/** The same as JSON. */
export function sharesJson({ name, classes, mean_uncertainty: mean }) {
  const shares = Object.fromEntries(classes.map((entry) => [entry.name, rounded(entry.share)]));
  const told = {
    classes: classes.map((entry) => entry.name),
    images: [{ image: name, shares, mean_uncertainty: rounded(mean) }],
  };
  return new Blob([`${JSON.stringify(told, null, 2)}\n`], { type: "application/json" });
}

const rounded = (value) => Math.round(value * DIGITS) / DIGITS;

/** A cell as RFC 4180 has it. */
function quoted(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
