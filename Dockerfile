# One image for every service: `docker run imagemill serve api|processor|notifier`.

FROM python:3.12-slim AS build
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

FROM python:3.12-slim
# Watermarks: Pillow's own font has ASCII letters only.
RUN apt-get update && apt-get install -y --no-install-recommends fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home imagemill \
    && install -d -o imagemill -g imagemill /var/lib/imagemill
COPY --from=build /opt/imagemill /opt/imagemill
# numba compiles for a generic CPU: the image runs on other machines than it is built on.
ENV PATH=/opt/imagemill/bin:$PATH \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/var/lib/imagemill/numba \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    IMAGEMILL_HOME=/var/lib/imagemill \
    IMAGEMILL_HOST=0.0.0.0
USER imagemill
WORKDIR /var/lib/imagemill
# Compile alpha matting here: at its first use that takes a quarter of a minute. The result lies in
# the volume, since numba ignores a cache that it cannot write, as on a read-only root.
RUN python -c "import processor.operations.background.compiled"
VOLUME /var/lib/imagemill
# The API, and the health ports of processor and notifier.
EXPOSE 8080 6066 8082
ENTRYPOINT ["imagemill"]
CMD ["serve", "api"]
