/** Memory of one domain, kind by kind. Bytes. */
export interface MemoryVector {
  readonly ramBytes: number;
  /** By the name of the graphics card; those that it has nothing of are left out. */
  readonly vramBytes?: Readonly<Record<string, number>>;
}

/** The ledger of one set of memory capacities: loads in progress, whose memory is not taken yet but spoken for. */
export interface MemoryDomain {
  readonly id: string;
  /**
   * Sets memory aside for the load named `key` (engine and model). The release may be called again without effect;
   * call it when the load ended, well or not. Several reservations under one key add up.
   */
  reserve(key: string, memory: MemoryVector): () => void;
  /** Sum of what is set aside; without the reservations of `exceptKey`, the load that is being planned. */
  reserved(exceptKey?: string): Required<MemoryVector>;
}

/** `id`: engines with the same `memoryDomain` share one ledger. */
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
