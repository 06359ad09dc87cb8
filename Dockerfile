# openmix with its commands: docker build -t openmix . && docker run --rm openmix list policies
FROM python:3.11-slim

# What opencv-python loads. There is no C++ compiler: for --compile with inductor install g++ too.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src

# Data are read from /work/data and runs are written to /work/work_dirs: mount both.
WORKDIR /work
ENTRYPOINT ["openmix"]
CMD ["--help"]
