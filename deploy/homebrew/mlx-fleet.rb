# A formula for a tap of your own; docs/install.md says how. Untested on a Mac.
class MlxFleet < Formula
  desc "Benchmarks MLX on one Mac or on a fleet of them"
  # Where you keep the archive of `cargo xtask dist --target macos14`, and its line in SHA256SUMS.
  url "https://releases.example/mlx-fleet-0.1.0-macos14-arm64.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["Apache-2.0", "MIT"]

  depends_on arch: :arm64
  depends_on macos: :sonoma
  depends_on "postgresql@18"

  def install
    libexec.install Dir["*"]
    # Not links: the programs find each other, and MLX, from where they lie.
    bin.write_exec_script Dir[libexec/"bin/*"]
  end

  # The coordinator; an agent is a daemon of root's making: `mlx-fleet machine add`.
  service do
    run [opt_bin/"mlx-fleet", "serve", "--data-dir", var/"mlx-fleet", "--listen", "0.0.0.0:7420"]
    keep_alive true
    log_path var/"log/mlx-fleet.log"
    error_log_path var/"log/mlx-fleet.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/mlx-fleet --version")
    assert_match "completions", shell_output("#{bin}/mlx-fleet --help")
  end
end
