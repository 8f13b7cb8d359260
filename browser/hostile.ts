import { trap } from "./chromium.ts";

/** Markup that runs a script wherever it is taken for HTML. */
export const payloads = [
  `<img src=x onerror="${trap}('img')">`,
  `<script>${trap}('script')</script>`,
  `<svg onload="${trap}('svg')"></svg>`,
  `"><iframe srcdoc="<script>parent.${trap}('frame')</script>"></iframe>`,
  `<a href="javascript:${trap}('link')">click</a>`,
  `'-${trap}('quote')-'`,
] as const;

/** All of them in one text, with what Markdown would load or open. */
export const hostileText = [
  ...payloads,
  "",
  `![picture](http://127.0.0.1:9/picture.png) [link](javascript:${trap}('markdown')) <http://127.0.0.1:9/>`,
].join("\n");

/** A name that an Ollama may list: no rule of ours applies to it. */
export const hostileModel = `<img src=x onerror=${trap}('name')>:latest`;
