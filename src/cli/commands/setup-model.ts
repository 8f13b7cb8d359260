import { offerFirstModel } from "../shell/offer-pull.ts";
import { withSession } from "../shell/session.ts";
import type { CommandIo } from "./io.ts";

/**
 * The end of setup: suggests a first model if none is installed, and pulls it after a yes. Never without a question. A
 * failure is reported, and does not make setup fail: the clients are set up.
 */
export async function setupModel(
  asks: { readonly mayAsk: boolean; readonly program: string },
  io: CommandIo,
): Promise<void> {
  await withSession(io, {}, async (session) => {
    const { structured } = await session.call("list_models", { limit: 1 });
    await offerFirstModel(structured, session, asks);
    return 0;
  });
}
