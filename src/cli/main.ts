/** The entry of `dist/cli.mjs`, which starts with every host: all else lies in `commands.mjs`. */
const { runProgram } = await import("./program.ts");
await runProgram(process.argv.slice(2));
