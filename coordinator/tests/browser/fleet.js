// A real fleet in a temporary folder: a coordinator with its private Postgres, an agent with real workers, and
// simulated machines. Whatever becomes of the test, nothing of it is left running.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const debug = fileURLToPath(new URL("../../../target/debug", import.meta.url));
const programs = process.env.MLX_FLEET_PROGRAMS ?? debug;
// Longer than a process takes to end on two busy cores.
const END_MS = 60_000;
// As they end.
const PROCESSES = ["simulation", "agent", "coordinator"];

export class Fleet {
  #folder = fs.mkdtempSync(join(tmpdir(), "mlx-fleet-browser-"));
  #running = new Map();
  #url;

  constructor() {
    // Postgres runs as another user when this is root.
    fs.chmodSync(this.#folder, 0o755);
    process.once("exit", () => this.#running.forEach((child) => child.kill("SIGTERM")));
    for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  }

  // The address of the dashboard, which stays the same when it is served again.
  async serve() {
    const args = ["serve", "--data-dir", this.#path("coordinator"), "--listen", "127.0.0.1:0"];
    if (this.#url) args.push("--dashboard-listen", new URL(this.#url).port);
    const { stdout } = this.#start("coordinator", "mlx-fleet", args);
    for await (const line of createInterface({ input: stdout })) {
      const [, url] = line.match(/^dashboard at (.+)/) ?? [];
      if (url) return this.#url = url;
    }
    throw new Error(`the coordinator did not come up: ${fs.readFileSync(this.#path("coordinator.log"), "utf8")}`);
  }

  get token() {
    return fs.readFileSync(this.#path("coordinator/operator.token"), "utf8").trim();
  }

  // By a line for a terminal. A machine that has joined needs no more than the program.
  startAgent(line = "mlx-fleet-agent run") {
    this.#join("agent", line);
  }

  // Machines that make up in no time what they measure, and join by such a line, too.
  startSimulation(line, machines) {
    const profile = this.#path("profile.toml");
    fs.writeFileSync(profile, "launch_ms = 100\n");
    this.#join("simulation", line.replace(" run ", ` simulate --count ${machines} --profile ${profile} `));
  }

  async stopServing() {
    await this.#end("coordinator", "SIGTERM");
  }

  // As a machine loses power. Its worker sees that and ends by itself.
  async killAgent() {
    const workers = childrenOf(this.#running.get("agent").pid);
    await this.#end("agent", "SIGKILL");
    await until("a worker ends with its agent", () => !processes().some(({ pid }) => workers.includes(pid)));
  }

  async stop(logs) {
    try {
      for (const name of PROCESSES) await this.#end(name, "SIGTERM");
    } finally {
      for (const log of PROCESSES.map((name) => `${name}.log`)) {
        if (fs.existsSync(this.#path(log))) fs.copyFileSync(this.#path(log), join(logs, log));
      }
      const left = processes().filter(({ words }) => words.includes(this.#folder));
      for (const { pid } of left) process.kill(pid, "SIGKILL");
      fs.rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10 });
      if (left.length > 0) throw new Error(`left running: ${left.map(({ words }) => words).join("; ")}`);
    }
  }

  #join(name, line) {
    const [program, ...args] = line.split(" ");
    this.#start(name, program, [...args, "--data-dir", this.#path(name)]);
  }

  #start(name, program, args) {
    const path = join(programs, program);
    if (!fs.existsSync(path)) throw new Error(`${path} is missing: cargo build --workspace --bins`);
    // Nothing of the tester's environment leads elsewhere.
    const own = ([key]) => key !== "DATABASE_URL" && !key.startsWith("MLX_FLEET_");
    const env = Object.fromEntries(Object.entries(process.env).filter(own));
    // Nor waits for what others measure here: these numbers tell nothing.
    env.MLX_FLEET_HOST_LOCK = this.#path("host.lock");
    const log = fs.openSync(this.#path(`${name}.log`), "a");
    const child = spawn(path, args, { env, stdio: ["ignore", "pipe", log] });
    this.#running.set(name, child);
    child.once("exit", () => this.#running.delete(name));
    return child;
  }

  async #end(name, signal) {
    const child = this.#running.get(name);
    if (!child) return;
    const ended = once(child, "exit", { signal: AbortSignal.timeout(END_MS) });
    child.kill(signal);
    await ended;
  }

  #path(name) {
    return join(this.#folder, name);
  }
}

function processes() {
  const listed = execFileSync("ps", ["-A", "-ww", "-o", "pid=,ppid=,args="], { encoding: "utf8" });
  return listed.trim().split("\n").map((line) => {
    const [, pid, parent, words] = line.match(/(\d+) +(\d+) +(.*)/);
    return { pid: Number(pid), parent: Number(parent), words };
  }).filter(({ words }) => !words.endsWith("<defunct>"));
}

function childrenOf(parent) {
  return processes().filter((process) => process.parent === parent).map(({ pid }) => pid);
}

async function until(what, holds) {
  const deadline = Date.now() + END_MS;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited too long: ${what}`);
    await pause(50);
  }
}
