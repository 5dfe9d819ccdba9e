// The service, as functions that return its JSON. An error carries the service's own sentence.

export class ServiceError extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("lost"));
    throw new ServiceError("The server doesn't answer; is 'lookalike serve' still running?", 0);
  }
  if (!response.ok) {
    const content = await response.json().catch(() => ({}));
    throw new ServiceError(content.error ?? `The server answered ${response.status}.`, response.status);
  }
  return response;
}

const json = async (path, options) => (await call(path, options)).json();
const post = (path, body, signal) =>
  json(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

export const info = () => json("api/info");
export const alive = () => fetch("api/health", { cache: "no-store" }).then((response) => response.ok, () => false);
export const search = (query, signal) => post("api/search", query, signal);
export const explain = (query, signal) => post("api/explain", query, signal);
export const denoise = (body) => post("api/denoise", body);
export const reports = () => json("api/reports");
export const images = (offset, limit, spread = false) =>
  json(`api/images?offset=${offset}&limit=${limit}&spread=${spread}${spread ? "" : "&by_name=true"}`);
export const image = (id) => json(`api/image?id=${encodeURIComponent(id)}`);
export const map = (encoder) => json(`api/map${encoder ? `?encoder=${encodeURIComponent(encoder)}` : ""}`);
export const mapIds = (body) => post("api/map/ids", body);
export const files = (outcome, offset, limit = 200) =>
  json(`api/files?offset=${offset}&limit=${limit}${outcome ? `&outcome=${encodeURIComponent(outcome)}` : ""}`);
export const suggest = (text) => json(`api/suggest?q=${encodeURIComponent(text)}`);

// One query by files; `uploads` of the response names them for further queries. `sending(share)` follows the way there.
export function searchByFiles(files, query, signal, sending = () => {}) {
  const form = new FormData();
  for (const file of files) form.append("images", file, "image");
  form.append("query", JSON.stringify(query));
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest(); // fetch doesn't tell how much has gone
    request.open("POST", "api/search/upload");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => sending(total ? loaded / total : 1);
    request.onload = () => (request.status === 200 ? done(request.response)
      : fail(new ServiceError(request.response?.error ?? `The server answered ${request.status}.`, request.status)));
    request.onerror = () => {
      dispatchEvent(new Event("lost"));
      fail(new ServiceError("The server doesn't answer; is 'lookalike serve' still running?", 0));
    };
    request.onabort = () => fail(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

export function upload(file, signal) {
  const form = new FormData();
  form.append("image", file, "image");
  return json("api/uploads", { method: "POST", body: form, signal });
}

export async function download(ids) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ids }) };
  return (await call("api/download", options)).blob();
}

// The address of a thumbnail names its content, so that browsers keep it for good.
export const thumbnail = (id, { side = 384, hash = "" } = {}) =>
  `api/thumbnail?id=${encodeURIComponent(id)}&side=${side}${hash ? `&v=${hash.slice(0, 16)}` : ""}`;
export const picture = (id, side = 1024) => `api/picture?id=${encodeURIComponent(id)}&side=${side}`;
export const original = (id) => `api/original?id=${encodeURIComponent(id)}`;
export const uploaded = (id) => `api/upload?id=${encodeURIComponent(id)}`;
// Of a picture that was sent: the size of the whole, which may be larger than what is shown of it.
export async function uploadedSize(id) {
  const response = await call(uploaded(id));
  const [width, height] = (response.headers.get("x-image-size") ?? "").split("x").map(Number);
  return height ? { width, height } : {};
}
