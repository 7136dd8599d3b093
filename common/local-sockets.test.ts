// What an option and the environment say about local sockets.
import { expect, it } from "vitest";
import { localSocketsOf } from "./local-sockets.js";

it("is what is given, else what the environment says, else on", () => {
  expect(localSocketsOf(true, { CAIRN_LOCAL_SOCKETS: "off" })).toBe(true);
  expect(localSocketsOf(false, {})).toBe(false);
  expect(localSocketsOf(undefined, { CAIRN_LOCAL_SOCKETS: "off" })).toBe(false);
  expect(localSocketsOf(undefined, { CAIRN_LOCAL_SOCKETS: "on" })).toBe(true);
  expect(localSocketsOf(undefined, { CAIRN_LOCAL_SOCKETS: "" })).toBe(true);
  expect(localSocketsOf(undefined, {})).toBe(true);
});

it("refuses other words, and says what would do", () => {
  expect(() => localSocketsOf(undefined, { CAIRN_LOCAL_SOCKETS: "no" })).toThrow(
    expect.objectContaining({ code: "invalid_argument", remedy: "Set it to on or off." }),
  );
});
