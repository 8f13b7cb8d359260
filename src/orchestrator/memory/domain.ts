/** Bytes of RAM and of each graphics card. */
export interface MemoryVector {
  readonly ramBytes: number;
  /** By the name of the graphics card; cards with 0 bytes are left out. */
  readonly vramBytes?: Readonly<Record<string, number>>;
}

/** The reservations of loads in progress in one memory domain. */
export interface MemoryDomain {
  readonly id: string;
  /**
   * Reserves memory for the load `key` (engine and model). Call the returned function when the load has ended,
   * successful or not; it is idempotent. Several reservations of one key add up.
   */
  reserve(key: string, memory: MemoryVector): () => void;
  /** Sum of the reservations, without those of `exceptKey`, the load that is being planned. */
  reserved(exceptKey?: string): Required<MemoryVector>;
}

/** `id`: the `memoryDomain` of the engines that share it. */
export function createMemoryDomain(id: string): MemoryDomain {
  const reservations = new Set<{ readonly key: string; readonly memory: MemoryVector }>();
  return {
    id,
    reserve(key, memory) {
      const reservation = { key, memory };
      reservations.add(reservation);
      return () => void reservations.delete(reservation);
    },
    reserved(exceptKey) {
      let ramBytes = 0;
      const vramBytes: Record<string, number> = {};
      for (const { key, memory } of reservations) {
        if (key === exceptKey) continue;
        ramBytes += memory.ramBytes;
        for (const [card, bytes] of Object.entries(memory.vramBytes ?? {}))
          vramBytes[card] = (vramBytes[card] ?? 0) + bytes;
      }
      return { ramBytes, vramBytes };
    },
  };
}
