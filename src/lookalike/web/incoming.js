// What is dropped, pasted, chosen or drawn -> files or addresses to search by; a sentence for everything else.

import { tell } from "./words.js";

const $ = (id) => document.getElementById(id);
const isAddress = (text) => /^https?:\/\/\S+$/i.test(text);

// Tell what a person who types or pastes an address wants: a picture to be fetched.
export { isAddress };

function fileOf(dataUrl) {
  const [head, body] = dataUrl.split(",", 2);
  const type = head.slice(5).split(";")[0] || "image/png";
  const bytes = head.endsWith(";base64") ? Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0)) : decodeURIComponent(body);
  return new File([bytes], `dropped.${type.split("/")[1]?.split("+")[0] ?? "png"}`, { type });
}

// The picture that another page's element or link stands for: its own address before that of the link round it.
function addressOf(transfer) {
  const page = new DOMParser().parseFromString(transfer.getData("text/html"), "text/html");
  const shown = page.querySelector("img")?.getAttribute("src");
  const listed = transfer.getData("text/uri-list").split(/\r?\n/).find((line) => line && !line.startsWith("#"));
  return [shown, listed, transfer.getData("text/plain").trim()].find((text) => text && (isAddress(text) || text.startsWith("data:image/")));
}

export function wireIncoming({ askByFiles, askByAddress }) {
  const take = (transfer) => {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...transfer.files].filter((_, at) => !entries[at]?.isDirectory);
    if (files.length) return askByFiles(files);
    const folder = entries.find((entry) => entry.isDirectory);
    if (folder) {
      tell(`"${folder.name}" is a folder, and one asks by pictures. To search in it, run: lookalike ${folder.name}`);
      return true;
    }
    const address = addressOf(transfer);
    if (!address) return false;
    if (address.startsWith("data:")) return askByFiles([fileOf(address)]);
    return askByAddress(address);
  };
  for (const id of ["file", "shot"])
    $(id).addEventListener("change", () => askByFiles($(id).files).finally(() => ($(id).value = "")));
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    const text = event.clipboardData?.getData("text/plain").trim() ?? "";
    if (files.length) askByFiles(files);
    else if (isAddress(text) && !event.target.closest("input, textarea")) askByAddress(text);
  });
  let over = 0;
  const drawn = (event) => ["Files", "text/uri-list", "text/html"].some((type) => event.dataTransfer?.types.includes(type));
  addEventListener("dragstart", (event) => event.target.closest?.(".tile") && event.preventDefault());
  addEventListener("dragenter", (event) => drawn(event) && ($("drop").hidden = ++over === 0));
  addEventListener("dragleave", () => ($("drop").hidden = --over <= 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over = 0;
    $("drop").hidden = true;
    if (event.dataTransfer && take(event.dataTransfer) === false) tell("That holds no picture. Drop an image file, or a picture from another page.");
  });
}
