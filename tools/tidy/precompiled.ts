// What the compiler does not say: precompiled headers (native/CMakeLists.txt) come before the first
// line of every source, so one that lacks its own #include of them compiles all the same.
import { importsOf } from "./imports.js";
import { type Finding, isCpp, type SourceFile } from "./source-file.js";

const cmakePath = "native/CMakeLists.txt";
const listPattern = /^(?:set\(PRECOMPILED|target_precompile_headers\()[^)]*\)/gm;

const inStd = (names: string): RegExp => new RegExp(`\\bstd::(?:${names})\\b`);

/** Header -> what of it our sources use. */
const provided: Readonly<Record<string, RegExp>> = {
  algorithm: inStd(
    "(?:stable_)?sort|find(?:_if|_if_not|_end)?|(?:any|all|none)_of|count(?:_if)?|" +
      "copy(?:_n|_if|_backward)?|fill(?:_n)?|min|max|minmax|clamp|(?:min|max|minmax)_element|" +
      "reverse|remove(?:_if|_copy)?|(?:lower|upper)_bound|equal(?:_range)?|transform|unique|" +
      "shuffle|rotate|binary_search|nth_element|generate|for_each|mismatch|is_sorted|replace|" +
      "includes|search|adjacent_find|set_(?:difference|intersection|union)|next_permutation|" +
      "lexicographical_compare|partition|merge|sample|ranges::[a-z_]+",
  ),
  array: inStd("array|to_array"),
  atomic: inStd("atomic[a-z_]*|memory_order[a-z_]*"),
  bit: inStd("bit_(?:ceil|floor|width|cast)|count[lr]_zero|popcount|has_single_bit|endian|rot[lr]"),
  cerrno: /\berrno\b|\bE(?:AGAIN|BADF|EXIST|INTR|INVAL|IO|NOENT|NOSPC|PERM|PIPE|TIME|TIMEDOUT)\b/,
  chrono: inStd("chrono"),
  cstdint: inStd("u?int(?:8|16|32|64|ptr)_t"),
  cstdio: inStd("v?f?printf|v?snprintf|f?puts|fputc|putchar|f(?:open|close|flush|read|write)"),
  cstdlib: inStd("abort|_?exit|getenv|ato[fil]|strto[a-z]+|malloc|calloc|free|aligned_alloc"),
  cstring: inStd("mem(?:cpy|cmp|set|move|chr)|str(?:len|n?cmp|error|chr|str|ncpy)"),
  deque: inStd("deque"),
  functional: inStd("function|bind|bind_front|reference_wrapper|greater|less|not_fn"),
  limits: inStd("numeric_limits"),
  map: inStd("(?:multi)?map"),
  memory: inStd("(?:unique|shared|weak)_ptr|make_(?:unique|shared)|enable_shared_from_this"),
  mutex: inStd("(?:recursive_)?mutex|lock_guard|unique_lock|scoped_lock|once_flag|call_once"),
  optional: inStd("optional|nullopt|make_optional"),
  random: inStd("mt19937[_64]*|[a-z]+_distribution|[a-z]+_[a-z]+_distribution|random_device"),
  set: inStd("(?:multi)?set"),
  span: inStd("span|as_bytes|as_writable_bytes"),
  string: inStd("string|to_string|sto[a-z]+|getline"),
  string_view: inStd("string_view"),
  thread: inStd("j?thread|this_thread"),
  unordered_map: inStd("unordered_(?:multi)?map"),
  utility: inStd("move|pair|make_pair|exchange|swap|forward|declval|in_place"),
  vector: inStd("vector"),
  "doctest/doctest.h": /\b(?:TEST_CASE|CHECK|REQUIRE)\(/,
  "napi.h": /\bNapi::/,
};

/** Text of strings and comments goes; lines stay where they are. */
const codeOf = (line: string): string =>
  line.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\/\/.*$/, "");

/** Finds uses of a precompiled header that neither the file nor a header of ours brings in. */
export function includesPrecompiled(files: readonly SourceFile[]): Finding[] {
  const cmake = files.find((file) => file.path === cmakePath);
  const lists = (cmake?.lines ?? [])
    .map((line) => line.trim())
    .join("\n")
    .match(listPattern);
  const headers = [...(lists ?? []).join(" ").matchAll(/\s<([^>]+)>/g)].map(
    ([, name]) => name ?? "",
  );
  const unknown = headers
    .filter((header) => provided[header] === undefined)
    .map((header) => {
      const message = `<${header}> is precompiled: tools/tidy/precompiled.ts must know its names`;
      return { path: cmakePath, line: 1, message };
    });
  const included = closures(files.filter(isCpp));
  const missing = files.filter(isCpp).flatMap((file) => {
    const has = included(file.path);
    return headers
      .filter((header) => provided[header] !== undefined && !has.has(header))
      .flatMap((header) => firstUse(file, header));
  });
  return [...unknown, ...missing];
}

function firstUse(file: SourceFile, header: string): Finding[] {
  const index = file.lines.findIndex((line) => provided[header]?.test(codeOf(line)));
  if (index < 0) return [];
  return [{ path: file.path, line: index + 1, message: `no #include <${header}>` }];
}

/** @returns for a path, all headers that it includes, itself or by headers of ours */
function closures(files: readonly SourceFile[]): (path: string) => ReadonlySet<string> {
  const known = new Set(files.map((file) => file.path));
  const direct = new Map(files.map((file) => [file.path, importsOf(file, known)]));
  return (path) => {
    const found = new Set<string>();
    const visited = new Set([path]);
    // A set hands out what is added to it while it is gone through.
    for (const current of visited) {
      for (const include of direct.get(current) ?? []) {
        if (include.path === undefined) found.add(include.target);
        else visited.add(include.path);
      }
    }
    return found;
  };
}
