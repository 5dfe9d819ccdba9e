// A hundred thousand dots on a canvas: by WebGL 2, or, where a browser has none, pixel by pixel.
//
// A view is {x, y, scale}: the place in the middle, and pixels to a unit. Places are [x0, y0, x1, y1, ...], y upwards;
// colours are four bytes a dot. (No library: regl, which regl-scatterplot stands on, makes its code by `Function`, and a
// page with our Content-Security-Policy doesn't run such code.)

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

function compiled(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

class ByWebGL {
  name = "webgl2";

  constructor(gl, program) {
    Object.assign(this, { gl, program });
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.buffers = {};
    for (const [name, size, kind, normal] of [["place", 2, gl.FLOAT, false], ["colour", 4, gl.UNSIGNED_BYTE, true]]) {
      const at = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, kind, normal, 0, 0);
    }
    this.uniform = Object.fromEntries(["middle", "zoom", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
  }

  #fill(name, data) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.STATIC_DRAW);
  }

  places(data) { this.count = data.length / 2; this.#fill("place", data); }
  colours(data) { this.#fill("colour", data); }

  draw({ x, y, scale }, size) {
    const { gl, uniform } = this, { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(uniform.middle, x, y);
    gl.uniform2f(uniform.zoom, (2 * scale) / width, (2 * scale) / height);
    gl.uniform1f(uniform.size, size);
    gl.drawArrays(gl.POINTS, 0, this.count);
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
    const side = Math.max(1, Math.round(size * 0.85)), half = side >> 1;
    for (let i = 0; i < this.shades.length; i++) {
      const left = Math.round((this.data[2 * i] - x) * scale + width / 2) - half;
      const top = Math.round((y - this.data[2 * i + 1]) * scale + height / 2) - half;
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      for (let row = 0; row < side; row++) pixels.fill(this.shades[i], (top + row) * width + left, (top + row) * width + left + side);
    }
    this.paper.putImageData(this.picture, 0, 0);
  }
}

// Return what draws on a canvas; `plainly` asks for the way without WebGL.
export function openPoints(canvas, plainly = false) {
  const gl = plainly ? null : canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  const program = gl && compiled(gl);
  return program ? new ByWebGL(gl, program) : gl ? null : new ByPixel(canvas);
}
