# MCP over HTTP, as a user without rights. Try it:
#   docker build -t ollm-mcp .
#   docker run --init -p 127.0.0.1:7411:7411 -v ollm:/data ollm-mcp
#   docker exec CONTAINER cat /data/run/http-token      the token that callers send: Authorization: Bearer ...
# Callers that use another port or name than localhost:7411: -e OLLM_HTTP_ALLOWED_HOSTS=name
# An Ollama server outside the container has a private address and is another machine to the server, so both are said:
#   -e OLLAMA_HOST=http://host.docker.internal:11434 -e OLLM_NETWORK_ALLOWED_HOSTS=host.docker.internal
#   -e OLLM_PRIVACY=allow_remote      (on Linux also: --add-host host.docker.internal:host-gateway)
# /data must belong to the user node (uid 1000): a folder that all may write to is refused, and so is one below it. A
# named volume does; a Kubernetes emptyDir does after an init container that runs: chown 1000 /data && chmod 700 /data

FROM node:22-bookworm-slim AS build
WORKDIR /source
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

# Debian and not Alpine: the embedded engine's binaries need glibc.
FROM node:22-bookworm-slim
ENV NODE_ENV=production OLLM_HOME=/data OLLM_DAEMON_IDLE_TIMEOUT=-1
WORKDIR /app
COPY --from=build /source/package.json /source/LICENSE ./
COPY --from=build /source/dist ./dist
RUN mkdir /data && chown node:node /data && chmod 700 /data
USER node
VOLUME /data
EXPOSE 7411
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["node", "-e", "fetch('http://127.0.0.1:7411/health').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/dist/cli.mjs"]
CMD ["serve", "--bind", "0.0.0.0", "--port", "7411"]
