// Data objects of a pool in memory with the rules of docs/snapshots.md: a write under a newer snap
// context keeps what the object was for the snapshots taken since. An object's content is one text,
// not blocks: "zero" for explicit zeros, undefined for absent.
import type { NativeSnapContext } from "../../native/binding.js";

export type Content = string | undefined;
type Values = Map<string, Uint8Array>;

interface Layer {
  id: number;
  /** the snapshots that it serves */
  snaps: number[];
  content: string;
}

const noContext: NativeSnapContext = { seq: 0, snaps: [] };
const text = (bytes: Uint8Array | undefined) =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);
const bytes = (value: string) => new TextEncoder().encode(value);

export class FakeData {
  /** snapshots that the monitor lists as removed */
  readonly removed = new Set<number>();

  constructor(private readonly objects: Map<string, Values>) {}

  write(name: string, content: Content, context: NativeSnapContext = noContext): void {
    const family = this.objects.get(name) ?? new Map<string, Uint8Array>();
    const seq = Number(text(family.get("seq")) ?? 0);
    const head = text(family.get("head"));
    if (context.seq > seq) {
      const snaps = context.snaps.filter((id) => id > seq && !this.removed.has(id));
      if (head !== undefined && snaps.length > 0) {
        this.setLayers(family, [...layersOf(family), { id: context.seq, snaps, content: head }]);
      }
      family.set("seq", bytes(String(context.seq)));
    }
    if (content === undefined) family.delete("head");
    else family.set("head", bytes(content));
    this.store(name, family);
  }

  /** Gives the content to those layers (undefined: the head) that are absent, and to no others. */
  fill(
    name: string,
    content: string,
    layers: readonly (number | undefined)[],
    context: NativeSnapContext = noContext,
  ): void {
    const shown = [...context.snaps]
      .filter((id) => !this.removed.has(id))
      .sort((a, b) => a - b)
      .map((id) => ({ id, snaps: [id], content: this.read(name, id) }));
    for (const layer of shown) if (layers.includes(layer.id)) layer.content ??= content;
    const head = this.read(name, undefined) ?? (layers.includes(undefined) ? content : undefined);
    const before = this.objects.get(name) ?? new Map<string, Uint8Array>();
    const seq = Math.max(context.seq, Number(text(before.get("seq")) ?? 0));
    const family = new Map<string, Uint8Array>([["seq", bytes(String(seq))]]);
    if (head !== undefined) family.set("head", bytes(head));
    // Each has a layer of its own from now on; those that the context does not know stay.
    const own = shown.flatMap((layer) =>
      layer.content === undefined ? [] : [{ ...layer, content: layer.content }],
    );
    const newer = layersOf(before).filter(({ id }) => id > context.seq);
    this.setLayers(family, [...own, ...newer]);
    this.store(name, family);
  }

  /** @param snap undefined: the head */
  read(name: string, snap: number | undefined): Content {
    const family = this.objects.get(name);
    if (family === undefined) return undefined;
    const seq = Number(text(family.get("seq")) ?? 0);
    if (snap === undefined || snap > seq) return text(family.get("head"));
    const layer = layersOf(family).find(({ id }) => id >= snap);
    return layer?.snaps.includes(snap) ? layer.content : undefined;
  }

  /** Takes snapshots out of all families. */
  trim(ids: number[]): void {
    for (const id of ids) this.removed.add(id);
    for (const [name, family] of [...this.objects]) {
      if (!family.has("layers")) continue;
      const layers = layersOf(family).map((layer) => ({
        ...layer,
        snaps: layer.snaps.filter((id) => !ids.includes(id)),
      }));
      this.setLayers(family, layers);
      this.store(name, family);
    }
  }

  /** Names of all objects of an image, those that only snapshots show too. */
  names(prefix: string): string[] {
    return [...this.objects.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  private setLayers(family: Values, layers: Layer[]): void {
    const kept = layers.filter(({ snaps }) => snaps.length > 0).sort((a, b) => a.id - b.id);
    if (kept.length === 0) family.delete("layers");
    else family.set("layers", bytes(JSON.stringify(kept)));
  }

  private store(name: string, family: Values): void {
    // Without head and layers the object does not exist.
    if (family.has("head") || family.has("layers")) this.objects.set(name, family);
    else this.objects.delete(name);
  }
}

function layersOf(family: Values): Layer[] {
  return JSON.parse(text(family.get("layers")) ?? "[]") as Layer[];
}
