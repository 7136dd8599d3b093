// Peering messages of OSDs whose map is newer than ours: they wait until we have that map, since
// the intervals that they are about may not have begun here. Bounded; a message that is dropped is
// sent again by its primary.
import type { PeeringMessage } from "../../proto/peering.js";

/** A message and its sender. */
export interface HeldMessage {
  from: number;
  message: PeeringMessage;
}

export class HeldMessages {
  private held: HeldMessage[] = [];

  /** @param maxMessages the oldest are dropped above that */
  constructor(private readonly maxMessages: number) {}

  add(held: HeldMessage): void {
    this.held.push(held);
    if (this.held.length > this.maxMessages) this.held.shift();
  }

  /** Takes out what a map of that epoch allows to handle, in order of arrival. */
  release(epoch: number): HeldMessage[] {
    const due = this.held.filter(({ message }) => message.epoch <= epoch);
    this.held = this.held.filter(({ message }) => message.epoch > epoch);
    return due;
  }
}
