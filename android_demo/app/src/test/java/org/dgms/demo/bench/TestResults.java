package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;

/** Results with made-up figures, for tests of what is done with results. Real ones: BenchmarkRunnerTest. */
final class TestResults {
  private TestResults() {}

  /** Every field has a value; the builtin path failed. */
  static BenchmarkResult full(File folder, String model, String created) throws IOException {
    File file = new File(folder, model + ".tflite");
    Files.writeAtomically(file, model.getBytes(StandardCharsets.UTF_8));
    BenchmarkSettings settings = BenchmarkSettings.builder().setRuns(3).setSeed(-1).build();
    BenchmarkResult.Builder b = new BenchmarkResult.Builder();
    b.created = created;
    b.toolVersion = "1.2";
    b.model = ModelFileInfo.of(model, "A \"model\" \u00e4\u20ac", file);
    b.dense = ModelFileInfo.of(model + "_float", null, file);
    b.machine =
        new MachineInfo.Builder(CpuTopology.read(new File(folder, "no cpus")))
            .setKind("phone", "Maker Phone")
            .setDelegate(Arrays.asList("neon", "neon_dotprod"), "neon_dotprod")
            .setSystem("Android 15")
            .setAndroid("Maker SoC", 35, "arm64-v8a")
            .build();
    b.runtime = "TensorFlow Lite 2.16.1 (Java)";
    b.settings = RunSettings.of(settings, new int[] {4, 5}, true, 12, true);
    b.paths.add(delegate().build());
    b.paths.add(path(PathKind.XNNPACK, 2.0).build());
    PathResult.Builder failed = new PathResult.Builder(PathKind.BUILTIN);
    failed.initMs = 1.5;
    failed.error = "memory ran out";
    b.paths.add(failed.build());
    b.paths.add(path(PathKind.DENSE_XNNPACK, 4.0).build());
    b.thermalBefore = "none";
    b.thermalAfter = "light";
    b.drift = 0.125;
    b.throttled = true;
    b.peakMemoryBytes = 123456789L;
    b.log = Arrays.asList("one", "two");
    return b.build();
  }

  static PathResult.Builder path(PathKind kind, double ms) {
    PathResult.Builder path = new PathResult.Builder(kind);
    path.description = "runs " + kind.id();
    path.initMs = 10.5;
    path.firstMs = ms * 2;
    path.runsMs = new double[] {ms, ms + 0.1, ms - 0.1};
    path.startsMs = new double[] {0.0, 10.25, 20.5};
    path.delegatedNodes = 0;
    path.maxAbsDifference = 1e-6;
    path.top1Agreement = 0.75;
    path.rssGrowthBytes = -4096L;
    return path;
  }

  private static PathResult.Builder delegate() {
    PathResult.Builder path = path(PathKind.DELEGATE, 1.0);
    path.delegatedNodes = null;
    path.claim = new DelegateClaim(9, 11, 54, 4096, Collections.singletonList("CONV_2D: stays"));
    path.counters = Collections.singletonList(new NodeTime("conv", "f32_neon", 10, 1000000, 2048, 5.5, 0.5));
    path.samples.add(new Classification("one.png", 3, 3, 0.875));
    path.samples.add(new Classification("two.png", null, 1, 0.5));
    return path;
  }
}
