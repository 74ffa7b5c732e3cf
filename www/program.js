// Chooses the program for this browser: with relaxed SIMD, which multiplies and adds in one instruction, or without.

// A module with one function: () -> v128, i32.const 0 and i8x16.splat three times, f32x4.relaxed_madd.
const RELAXED_PROBE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // magic, version 1
  1, 5, 1, 0x60, 0, 1, 0x7b, // one type: no parameters, one v128
  3, 2, 1, 0, // one function of that type
  10, 19, 1, 17, 0, 0x41, 0, 0xfd, 15, 0x41, 0, 0xfd, 15, 0x41, 0, 0xfd, 15, 0xfd, 0x85, 2, 0x0b, // its code
]);

/** The address of a program: of Explore, or of Learn and Lab (`lab/lab`). */
export function programUrl(program = "moescope") {
  const kind = WebAssembly.validate(RELAXED_PROBE) ? "relaxed" : "bg";
  return new URL(`${program}_${kind}.wasm`, import.meta.url);
}
