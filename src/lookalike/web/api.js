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
// The first results include their pictures: those that are visible at once.
const PICTURES = 30;
export const search = (query, signal) => post(query.offset ? "api/search" : `api/search?pictures=${PICTURES}`, query, signal);
export const explain = (query, signal) => post("api/explain", query, signal);
export const denoise = (body) => post("api/denoise", body);
export const reports = () => json("api/reports");
export const images = (offset, limit, spread = false) => json(`api/images?offset=${offset}&limit=${limit}&spread=${spread}`);
export const image = (id) => json(`api/image?id=${encodeURIComponent(id)}`);
export const map = (encoder) => json(`api/map${encoder ? `?encoder=${encodeURIComponent(encoder)}` : ""}`);
export const mapIds = (body) => post("api/map/ids", body);
export const files = (outcome, offset, limit = 200) =>
  json(`api/files?offset=${offset}&limit=${limit}${outcome ? `&outcome=${encodeURIComponent(outcome)}` : ""}`);
export const suggest = (text) => json(`api/suggest?q=${encodeURIComponent(text)}`);

// One query by files; `uploads` of the response names them for further queries.
export function searchByFiles(files, query, signal) {
  const form = new FormData();
  for (const file of files) form.append("images", file, "image");
  form.append("query", JSON.stringify(query));
  return json(`api/search/upload?pictures=${PICTURES}`, { method: "POST", body: form, signal });
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

export const thumbnail = (id) => `api/thumbnail?id=${encodeURIComponent(id)}`;
export const picture = (id) => `api/picture?id=${encodeURIComponent(id)}`;
export const original = (id) => `api/original?id=${encodeURIComponent(id)}`;
export const uploaded = (id) => `api/upload?id=${encodeURIComponent(id)}`;
