/** The ledger of one set of memory capacities: loads in progress, whose memory is not taken yet but spoken for. */
export interface MemoryDomain {
  readonly id: string;
  /**
   * Sets `bytes` aside for the load named `key` (engine and model). The release may be called again without effect;
   * call it when the load ended, well or not. Several reservations under one key add up.
   */
  reserve(key: string, bytes: number): () => void;
  /** Sum of what is set aside; without the reservations of `exceptKey`, the load that is being planned. */
  reservedBytes(exceptKey?: string): number;
}

/** `id`: engines with the same `memoryDomain` share one ledger. */
export function createMemoryDomain(id: string): MemoryDomain {
  const reservations = new Set<{ readonly key: string; readonly bytes: number }>();
  return {
    id,
    reserve(key, bytes) {
      const reservation = { key, bytes };
      reservations.add(reservation);
      return () => void reservations.delete(reservation);
    },
    reservedBytes(exceptKey) {
      let sum = 0;
      for (const { key, bytes } of reservations) if (key !== exceptKey) sum += bytes;
      return sum;
    },
  };
}
