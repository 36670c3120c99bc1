package org.dgms.demo.bench;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Scanner;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class BenchmarkResultTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();
  private BenchmarkResult result;

  @Before
  public void make() throws Exception {
    result = TestResults.full(folder.getRoot(), "net", "2026-05-31T16:05:09Z");
  }

  @Test
  public void jsonFollowsTheSchema() throws Exception {
    ResultSchema.check(result.toJson());
  }

  @Test
  public void theSchemaCheckFindsMistakes() {
    String json = result.toJson();
    assertThrows(AssertionError.class, () -> ResultSchema.check(json.replace("\"drift\"", "\"drfit\"")));
    assertThrows(AssertionError.class, () -> ResultSchema.check(json.replace("\"phone\"", "\"tablet\"")));
  }

  @Test
  public void jsonSurvivesReadingAndWriting() throws Exception {
    String json = result.toJson();
    assertEquals(json, BenchmarkResult.fromJson(json).toJson());
  }

  @Test
  public void everyFieldIsRead() throws Exception {
    BenchmarkResult read = BenchmarkResult.fromJson(result.toJson());
    assertEquals("2026-05-31T16:05:09Z", read.created());
    assertEquals("dgms-android", read.toolName());
    assertEquals("1.2", read.toolVersion());
    assertEquals("A \"model\" \u00e4\u20ac", read.model().title());
    assertEquals(3, read.model().bytes());
    // printf net | sha256sum
    assertEquals(
        "a08a0fcbdeafd3c1b3a4b495b9a9c9d96850f08946b52bc0622347d3b6e73b78", read.model().sha256());
    assertEquals("net_float", read.dense().title());
    assertEquals("phone", read.machine().kind());
    assertEquals("Maker Phone", read.machine().name());
    assertEquals(Arrays.asList("neon", "neon_dotprod"), read.machine().features());
    assertEquals("neon_dotprod", read.machine().kernelSet());
    assertEquals("Maker SoC", read.machine().soc());
    assertEquals("Android 15", read.machine().system());
    assertEquals(1, read.settings().numThreads());
    assertEquals(Arrays.asList(4, 5), read.settings().cpus());
    assertEquals("samples", read.settings().inputs());
    assertEquals(Integer.valueOf(12), read.settings().agreementInputs());
    assertEquals(Long.valueOf(-1), read.settings().seed());
    assertEquals(Boolean.TRUE, read.settings().sustained());
    assertEquals("none", read.thermalBefore());
    assertEquals("light", read.thermalAfter());
    assertEquals(0.125, read.drift(), 0);
    assertEquals(Boolean.TRUE, read.throttled());
    assertEquals(Long.valueOf(123456789), read.peakMemoryBytes());
    assertEquals(Arrays.asList("one", "two"), read.log());
  }

  @Test
  public void everyFieldOfAPathIsRead() throws Exception {
    PathResult delegate = BenchmarkResult.fromJson(result.toJson()).path(PathKind.DELEGATE);
    assertTrue(delegate.succeeded());
    assertEquals(10.5, delegate.initMs(), 0);
    assertEquals(2.0, delegate.firstMs(), 0);
    assertArrayEquals(new double[] {1.0, 1.1, 0.9}, delegate.runsMs(), 0);
    assertArrayEquals(new double[] {0.0, 10.25, 20.5}, delegate.startsMs(), 0);
    assertEquals(1.0, delegate.medianMs(), 0);
    assertNull(delegate.delegatedNodes());
    assertEquals(9, delegate.claim().operators());
    assertEquals(11, delegate.claim().candidates());
    assertEquals(54, delegate.claim().nodes());
    assertEquals(4096, delegate.claim().packedBytes());
    assertEquals(Arrays.asList("CONV_2D: stays"), delegate.claim().refusals());
    assertEquals("f32_neon", delegate.counters().get(0).kernel());
    assertEquals(0.55, delegate.counters().get(0).meanMs(), 1e-15);
    assertEquals(1e-6, delegate.maxAbsDifference(), 0);
    assertEquals(0.75, delegate.top1Agreement(), 0);
    assertEquals(Long.valueOf(-4096), delegate.rssGrowthBytes());
    assertEquals(2, delegate.samples().size());
    assertTrue(delegate.samples().get(0).isRight());
    assertFalse(delegate.samples().get(1).isRight());
  }

  @Test
  public void aFailedPathHasItsReasonAndNoTimes() throws Exception {
    PathResult failed = BenchmarkResult.fromJson(result.toJson()).path(PathKind.BUILTIN);
    assertFalse(failed.succeeded());
    assertEquals("memory ran out", failed.error());
    assertEquals(1.5, failed.initMs(), 0);
    assertThrows(IllegalStateException.class, failed::medianMs);
    assertThrows(IllegalStateException.class, failed::firstMs);
    assertThrows(IllegalStateException.class, failed::startsMs);
  }

  @Test
  public void ratiosAreOfMedians() {
    assertEquals(0.25, result.ratio(PathKind.DELEGATE, PathKind.DENSE_XNNPACK), 0);
    assertEquals(0.5, result.ratio(PathKind.DELEGATE, PathKind.XNNPACK), 0);
    assertNull(result.ratio(PathKind.DELEGATE, PathKind.BUILTIN));
    assertEquals(PathKind.DENSE_XNNPACK, result.peer());
  }

  @Test
  public void csvHasOneLineForEachRun() {
    String[] lines = result.toCsv().split("\r\n", -1);
    // The heading, three paths of three runs, and nothing after the last line end.
    assertEquals(1 + 9 + 1, lines.length);
    assertEquals("path,round,start_ms,ms", lines[0]);
    assertEquals("delegate,2,10.25,1.1", lines[2]);
    assertEquals("dense:xnnpack,3,20.5,3.9", lines[9]);
    assertEquals("", lines[10]);
  }

  @Test
  public void aNewerMinorVersionIsRead() throws Exception {
    String newer =
        result.toJson()
            .replace("\"2.0\"", "\"2.9\"")
            .replace("\"runtime\"", "\"weather\": \"hot\", \"runtime\"");
    assertEquals("net", BenchmarkResult.fromJson(newer).model().name());
  }

  /** The golden file is a desktop's: {@code dgms bench shapes_w4.tflite --dense ... --runs 9 --json}. */
  @Test
  public void theDesktopsResultsAreRead() throws Exception {
    String json;
    InputStream in = BenchmarkResultTest.class.getResourceAsStream("/golden/desktop_result.json");
    try (Scanner scanner = new Scanner(in, "UTF-8").useDelimiter("\\A")) {
      json = scanner.next();
    }
    ResultSchema.check(json); // or the golden file is out of date
    BenchmarkResult desktop = BenchmarkResult.fromJson(json);
    assertEquals("dgms", desktop.toolName());
    assertEquals("desktop", desktop.machine().kind());
    assertEquals(9, desktop.path(PathKind.DELEGATE).runsMs().length);
    assertEquals(Integer.valueOf(3), desktop.path(PathKind.DELEGATE).delegatedNodes());
    assertNull(desktop.path(PathKind.DELEGATE).claim());
    assertNull(desktop.settings().affinity());
    // Both sides compute the same statistics from the same runs.
    JsonFields delegate = new JsonFields(Json.parseObject(json), "").objects("paths").get(0);
    PathResult read = desktop.path(PathKind.DELEGATE);
    assertEquals(delegate.number("mean_ms"), read.meanMs(), 1e-12);
    assertEquals(delegate.number("sd_ms"), read.sdMs(), 1e-12);
    assertEquals(delegate.number("median_ms"), read.medianMs(), 1e-12);
    assertEquals(delegate.number("p90_ms"), read.p90Ms(), 1e-12);
    assertEquals(delegate.number("p99_ms"), read.p99Ms(), 1e-12);
    List<double[]> runs = new ArrayList<double[]>();
    for (PathResult path : desktop.paths()) {
      runs.add(path.runsMs());
    }
    assertEquals(desktop.drift(), Statistics.commonDrift(runs), 1e-12);
    assertEquals(desktop.throttled(), Statistics.throttled(desktop.drift(), null, null));
    ResultSchema.check(desktop.toJson());
  }

  @Test
  public void otherFilesAreRefused() {
    String json = result.toJson();
    refused("schema_version must be 2.x, which is what this program reads. Received: \"3.0\"",
        json.replace("\"2.0\"", "\"3.0\""));
    refused("schema must be \"dgms-bench\". Received: \"dgms-models\"",
        json.replace("dgms-bench", "dgms-models"));
    refused("paths[0].runs_ms must be a list. Received: nothing", json.replaceFirst("runs_ms", "walks_ms"));
    refused("machine.cores must be an integer", json.replaceFirst("\"cores\": [0-9]+", "\"cores\": 1.5"));
    refused("paths[1].name: a path must be", json.replace("\"xnnpack\"", "\"gpu\""));
  }

  private static void refused(String message, String text) {
    String received =
        assertThrows(FormatException.class, () -> BenchmarkResult.fromJson(text)).getMessage();
    assertTrue(received, received.startsWith(message));
  }
}
