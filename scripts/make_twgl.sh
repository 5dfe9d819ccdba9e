#!/usr/bin/env bash
# Makes src/lookalike/web/twgl.js: what web/points.js uses of twgl.js, as one small ES module. Needs node with npm.
# The same versions give the same bytes; tests/test_map_page.py holds the file to SHA256.
set -euo pipefail
TWGL=7.0.0 ESBUILD=0.28.2
PACKED=cbdc45e1886acfcbae499f4749e2307d5aa7d190649d3bf1e7926b4571a549a2  # of the package as it comes
SHA256=7b0210502b976dc3c94497333499c46404223bfcc8f16ff206c0cb05be178d71  # of the file that is made
target="$(cd "$(dirname "$0")/.." && pwd)/src/lookalike/web/twgl.js"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "twgl.js@$TWGL" >/dev/null
echo "$PACKED  twgl.js-$TWGL.tgz" | sha256sum --check --quiet
tar -xzf "twgl.js-$TWGL.tgz"
npm install --silent --no-save --ignore-scripts "esbuild@$ESBUILD"
names="createBufferInfoFromArrays, createProgramInfo, drawBufferInfo, setAttribInfoBufferFromArray, setBuffersAndAttributes, setUniforms"
echo "export { $names } from './package/dist/7.x/twgl-full.module.js';" >entry.js
{
  echo "// twgl.js $TWGL, Copyright (c) 2015 Gregg Tavares, MIT licence: see twgl.NOTICE. Made by scripts/make_twgl.sh."
  node_modules/.bin/esbuild entry.js --bundle --format=esm --minify --target=es2022 --legal-comments=none
} >twgl.js
echo "$SHA256  twgl.js" | sha256sum --check --quiet
cp twgl.js "$target"
