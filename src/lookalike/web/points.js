// A hundred thousand dots on a canvas: by WebGL 2 on a graphics card, pixel by pixel where there is none.
//
// A view is {x, y, scale}: the place in the middle, and pixels to a unit. Places are [x0, y0, x1, y1, ...], y upwards;
// colours are four bytes a dot.

import * as twgl from "./twgl.js";

const VERTEX = `#version 300 es
in vec2 place; in vec4 colour; uniform vec2 middle; uniform vec2 zoom; uniform float size; out vec4 shade;
void main() { gl_Position = vec4((place - middle) * zoom, 0.0, 1.0); gl_PointSize = size; shade = colour; }`;
const FRAGMENT = `#version 300 es
precision highp float; in vec4 shade; uniform float size; out vec4 pixel;
void main() {
  float far = length(gl_PointCoord - 0.5) * size;
  float alpha = shade.a * clamp(size * 0.5 - far + 0.5, 0.0, 1.0);
  if (alpha < 0.01) discard;
  pixel = vec4(shade.rgb * alpha, alpha);
}`;
// What drivers that draw on the processor call themselves: Chromium's, Mesa's two, Windows' and Apple's.
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

// Tell whether a context draws without a graphics card; there filling pixels ourselves is twice as fast.
export function isSoftware(gl) {
  const named = gl.getExtension("WEBGL_debug_renderer_info");
  return SOFTWARE.test(gl.getParameter(named ? named.UNMASKED_RENDERER_WEBGL : gl.RENDERER) ?? "");
}

class ByWebGL {
  name = "webgl2";

  constructor(gl, program) {
    Object.assign(this, { gl, program });
    gl.useProgram(program.program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.buffers = twgl.createBufferInfoFromArrays(gl, {
      place: { numComponents: 2, data: new Float32Array(2) },
      colour: { numComponents: 4, data: new Uint8Array(4), normalize: true },
    });
  }

  #fill(name, data) { twgl.setAttribInfoBufferFromArray(this.gl, this.buffers.attribs[name], data); }

  places(data) { this.count = data.length / 2; this.#fill("place", data); }
  colours(data) { this.#fill("colour", data); }

  draw({ x, y, scale }, size) {
    const { gl, program, buffers } = this, { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    twgl.setBuffersAndAttributes(gl, program, buffers);
    twgl.setUniforms(program, { middle: [x, y], zoom: [(2 * scale) / width, (2 * scale) / height], size });
    twgl.drawBufferInfo(gl, buffers, gl.POINTS, this.count);
  }
}

class ByPixel {
  name = "2d";

  constructor(canvas) { this.paper = canvas.getContext("2d"); }
  places(data) { this.data = data; }
  colours(data) { this.shades = new Uint32Array(data.buffer, data.byteOffset, data.length / 4); }

  draw({ x, y, scale }, size) {
    const { width, height } = this.paper.canvas;
    if (!width || !height) return;
    if (this.picture?.width !== width || this.picture?.height !== height) this.picture = this.paper.createImageData(width, height);
    const pixels = new Uint32Array(this.picture.data.buffer).fill(0);
    // Small dots are squares of about a disc's area, larger ones discs: where each row of one begins.
    const small = size < 5, side = Math.max(1, Math.round(small ? size * 0.85 : size)), half = side >> 1;
    const inset = Array.from({ length: side }, (_, row) =>
      small ? 0 : Math.round(side / 2 - Math.sqrt((side / 2) ** 2 - (row + 0.5 - side / 2) ** 2)));
    for (let i = 0; i < this.shades.length; i++) {
      const left = Math.round((this.data[2 * i] - x) * scale + width / 2) - half;
      const top = Math.round((y - this.data[2 * i + 1]) * scale + height / 2) - half;
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      for (let row = 0; row < side; row++) {
        const start = (top + row) * width + left;
        pixels.fill(this.shades[i], start + inset[row], start + side - inset[row]);
      }
    }
    this.paper.putImageData(this.picture, 0, 0);
  }
}

// Return what draws on a canvas, or null where another canvas must be tried: one that has been asked for WebGL gives no
// plain drawing any more. `way` is "2d" or "webgl2", or empty for whichever is faster here.
export function openPoints(canvas, way = "") {
  if (way === "2d") return new ByPixel(canvas);
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  if (!gl) return way ? null : new ByPixel(canvas);
  const program = !way && isSoftware(gl) ? null : twgl.createProgramInfo(gl, [VERTEX, FRAGMENT], () => {});
  if (program) return new ByWebGL(gl, program);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return null;
}
