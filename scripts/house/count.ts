import { arrowGroups, type budgets, otherMeanings, shapes } from "./budgets.ts";
import type { SourceFile } from "./sources.ts";

type Named<Key extends string = string> = Readonly<Record<Key, readonly string[]>>;

/** A ring is a set of rooms each of which imports all others of it, directly or through one another. */
export function ringsOf(files: readonly SourceFile[]): readonly (readonly string[])[] {
  const imported = importedRooms(files);
  const reached = new Map([...imported.keys()].map((room) => [room, reachableFrom(room, imported)]));
  const isRinged = (a: string, b: string): boolean =>
    reached.get(a)?.has(b) === true && reached.get(b)?.has(a) === true;
  const rings: (readonly string[])[] = [];
  for (const room of reached.keys()) {
    if (!isRinged(room, room) || rings.some((ring) => ring.includes(room))) continue;
    rings.push([...reached.keys()].filter((other) => isRinged(room, other)).toSorted());
  }
  return rings;
}

/** For each group, `A → B` for each pair of its rooms where A imports B, and B does not stand on a lower level. */
export function arrowsOf(files: readonly SourceFile[], groups = arrowGroups): Named {
  const imported = importedRooms(files);
  return Object.fromEntries(
    Object.entries(groups).map(([group, levels]) => {
      const levelOf = (room: string): number => {
        const level = levels.findIndex((rooms) => rooms.includes(room));
        if (level !== -1) return level;
        throw new Error(`src/${room} has no level yet: \`arrowGroups\` in scripts/house/budgets.ts`);
      };
      const arrows = [...imported].flatMap(([from, rooms]) =>
        [...rooms]
          .filter((to) => isIn(from, group) && isIn(to, group) && levelOf(to) >= levelOf(from))
          .map((to) => `${from} → ${to}`),
      );
      return [group, arrows.toSorted()];
    }),
  );
}

/** Files that a file of another room imports. */
export function filesSeen(files: readonly SourceFile[]): readonly string[] {
  const roomOf = new Map(files.map(({ path, room }) => [path, room]));
  const seen = files.flatMap(({ room, imports }) => imports.filter((path) => (roomOf.get(path) ?? room) !== room));
  return [...new Set(seen)].toSorted();
}

/** For each kind of shape, `NAME in FILE` for each declaration of one of its names. */
export function shapesOf(files: readonly SourceFile[]): Named {
  return Object.fromEntries(
    Object.entries(shapes).map(([kind, { rooms, names }]) => [
      kind,
      files
        .filter(({ room }) => rooms.some((each) => isIn(room, each)) && !otherMeanings.some((each) => isIn(room, each)))
        .flatMap(({ path, types }) => types.filter((name) => names.includes(name)).map((name) => `${name} in ${path}`)),
    ]),
  );
}

/** Files that name one sampling option, `topP` or `top_p`: so many does a further one touch. */
export function filesOfOption(files: readonly SourceFile[]): readonly string[] {
  return files.filter(({ text }) => /\b(?:topP|top_p)\b/.test(text)).map(({ path }) => path);
}

export function countHouse(files: readonly SourceFile[]): Readonly<Record<keyof typeof budgets.house, number>> {
  const rings = ringsOf(files);
  const arrows = arrowsOf(files);
  const found = shapesOf(files);
  const sum = (of: (file: SourceFile) => number): number => files.reduce((all, file) => all + of(file), 0);
  return {
    rings: rings.length,
    roomsInRings: rings.flat().length,
    "arrows orchestrator": arrows["orchestrator"]?.length ?? 0,
    "arrows server": arrows["server"]?.length ?? 0,
    "arrows cli": arrows["cli"]?.length ?? 0,
    "shapes request": found["request"]?.length ?? 0,
    "shapes answer": found["answer"]?.length ?? 0,
    "shapes memory": found["memory"]?.length ?? 0,
    types: new Set(files.flatMap(({ types }) => types)).size,
    exports: sum((file) => file.exports),
    seen: filesSeen(files).length,
    option: filesOfOption(files).length,
    lines: sum(({ codeLines }) => codeLines),
    files: files.length,
    folders: new Set(files.map(({ room }) => room)).size,
  };
}

/** Which other rooms each room imports. */
function importedRooms(files: readonly SourceFile[]): ReadonlyMap<string, ReadonlySet<string>> {
  const roomOf = new Map(files.map(({ path, room }) => [path, room]));
  const imported = new Map(files.map(({ room }) => [room, new Set<string>()]));
  for (const { room, imports } of files)
    for (const path of imports) {
      const other = roomOf.get(path);
      if (other !== undefined && other !== room) imported.get(room)?.add(other);
    }
  return imported;
}

function reachableFrom(room: string, imported: ReadonlyMap<string, ReadonlySet<string>>): ReadonlySet<string> {
  const reached = new Set<string>();
  const next = [room];
  for (let from = next.pop(); from !== undefined; from = next.pop())
    for (const to of imported.get(from) ?? [])
      if (!reached.has(to)) {
        reached.add(to);
        next.push(to);
      }
  return reached;
}

function isIn(room: string, folder: string): boolean {
  return room === folder || room.startsWith(`${folder}/`);
}
