# One image for every service: `docker run imagemill serve api|processor|notifier`. It needs no
# capability and writes into its two volumes only: docs/containers.md.

# By digest: a tag can be pushed again. `make pin-images` moves it to the tag's present one.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea AS build
RUN python -m venv /opt/imagemill
ENV PATH=/opt/imagemill/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The dependencies are a layer of their own: they change more rarely than the code.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY assets assets
COPY deploy/local deploy/local
COPY schemas schemas
COPY imagemill imagemill
COPY producer_api producer_api
COPY processor processor
COPY notifier notifier
RUN pip install --no-deps --no-build-isolation .

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
# Watermarks: Pillow's own font has ASCII letters only.
# No version: Debian keeps one only, so that a pinned one breaks the build at its next update.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home imagemill \
    && install -d -o imagemill -g imagemill /var/lib/imagemill /var/cache/imagemill
COPY --from=build /opt/imagemill /opt/imagemill
# numba compiles for a generic CPU: the image runs on other machines than it is built on.
ENV PATH=/opt/imagemill/bin:$PATH \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/var/lib/imagemill/numba \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/var/cache/imagemill \
    IMAGEMILL_HOME=/var/lib/imagemill \
    IMAGEMILL_HOST=0.0.0.0
# By number: Kubernetes checks runAsNonRoot without the image's /etc/passwd.
USER 10001
WORKDIR /var/lib/imagemill
# Compile alpha matting here: at its first use that takes a quarter of a minute. The result lies in
# the volume, since numba ignores a cache that it cannot write, as on a read-only root.
RUN python -c "import processor.operations.background.compiled"
# Data that outlives the container, and what it may lose: uploads under way, the read model.
VOLUME /var/lib/imagemill /var/cache/imagemill
# The API, and the health ports of processor and notifier.
EXPOSE 8080 6066 8082
# Without a name it asks whichever service runs in this container.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 CMD ["imagemill", "ready"]
ENTRYPOINT ["imagemill"]
CMD ["serve", "api"]
