package org.dgms.demo.bench;

import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;

/**
 * A whole benchmark: one model on one machine. Immutable.
 *
 * <p>Its JSON is described by bench.schema.json, which {@code dgms bench --json} on the desktop follows too.
 */
public final class BenchmarkResult {
  private static final String SCHEMA = "dgms-bench";
  private static final int MAJOR = 2;
  private static final String SCHEMA_VERSION = MAJOR + ".0";
  private static final String TOOL = "dgms-android";

  private final String created;
  private final String toolName;
  private final String toolVersion;
  private final ModelFileInfo model;
  private final ModelFileInfo dense;
  private final MachineInfo machine;
  private final String runtime;
  private final RunSettings settings;
  private final List<PathResult> paths;
  private final String thermalBefore;
  private final String thermalAfter;
  private final Double drift;
  private final Boolean throttled;
  private final Long peakMemoryBytes;
  private final List<String> log;

  private BenchmarkResult(Builder b) {
    created = b.created;
    toolName = b.toolName;
    toolVersion = b.toolVersion;
    model = b.model;
    dense = b.dense;
    machine = b.machine;
    runtime = b.runtime;
    settings = b.settings;
    paths = Collections.unmodifiableList(new ArrayList<PathResult>(b.paths));
    thermalBefore = b.thermalBefore;
    thermalAfter = b.thermalAfter;
    drift = b.drift;
    throttled = b.throttled;
    peakMemoryBytes = b.peakMemoryBytes;
    log = Collections.unmodifiableList(new ArrayList<String>(b.log));
  }

  /** When the benchmark ended: ISO 8601, UTC, such as {@code 2026-05-31T16:05:09Z}. */
  public String created() {
    return created;
  }

  /** "dgms-android" for this program, "dgms" for the desktop's. */
  public String toolName() {
    return toolName;
  }

  /** Version of the program. */
  public String toolVersion() {
    return toolVersion;
  }

  /** The model that was timed. */
  public ModelFileInfo model() {
    return model;
  }

  /** Its dense twin, or null. */
  public ModelFileInfo dense() {
    return dense;
  }

  /** What it ran on. */
  public MachineInfo machine() {
    return machine;
  }

  /** Name and version of the TFLite runtime. */
  public String runtime() {
    return runtime;
  }

  /** What was asked for. */
  public RunSettings settings() {
    return settings;
  }

  /** The paths, in the order of the first round. */
  public List<PathResult> paths() {
    return paths;
  }

  /** One path's result, or null if it was not asked for. */
  public PathResult path(PathKind kind) {
    for (PathResult path : paths) {
      if (path.kind() == kind) {
        return path;
      }
    }
    return null;
  }

  /**
   * Median time of one path over that of another: below 1, the first is faster.
   *
   * @return null where one of them is missing or failed
   */
  public Double ratio(PathKind kind, PathKind peer) {
    PathResult a = path(kind);
    PathResult b = path(peer);
    boolean known = a != null && b != null && a.succeeded() && b.succeeded() && b.medianMs() > 0;
    return known ? Double.valueOf(a.medianMs() / b.medianMs()) : null;
  }

  /**
   * The path that the delegate is to be compared with: the dense twin's under XNNPACK where that succeeded,
   * else XNNPACK on the same file, else TFLite's own kernels.
   *
   * @return null where none of them has figures
   */
  public PathKind peer() {
    for (PathKind kind : new PathKind[] {PathKind.DENSE_XNNPACK, PathKind.XNNPACK, PathKind.BUILTIN}) {
      PathResult path = path(kind);
      if (path != null && path.succeeded()) {
        return kind;
      }
    }
    return null;
  }

  /** The thermal status before the first run; null if unknown. */
  public String thermalBefore() {
    return thermalBefore;
  }

  /** The thermal status after the last run; null if unknown. */
  public String thermalAfter() {
    return thermalAfter;
  }

  /** By how much every path slowed down (see {@link Statistics#commonDrift}); null if unknown. */
  public Double drift() {
    return drift;
  }

  /** Whether the machine was throttled (see {@link Statistics#throttled}); null if unknown. */
  public Boolean throttled() {
    return throttled;
  }

  /**
   * Most resident memory that the whole process ever had, in bytes: the program and all paths together; or
   * null.
   */
  public Long peakMemoryBytes() {
    return peakMemoryBytes;
  }

  /** What was logged: who runs each path with how many threads, and what the delegate claimed. */
  public List<String> log() {
    return log;
  }

  /** The result as JSON text, with keys in a fixed order. */
  public String toJson() {
    Map<String, Object> root = new LinkedHashMap<String, Object>();
    root.put("schema", SCHEMA);
    root.put("schema_version", SCHEMA_VERSION);
    root.put("created", created);
    Map<String, Object> tool = new LinkedHashMap<String, Object>();
    tool.put("name", toolName);
    tool.put("version", toolVersion);
    root.put("tool", tool);
    root.put("model", model.toMap());
    root.put("dense", dense == null ? null : dense.toMap());
    root.put("machine", machine.toMap());
    root.put("runtime", runtime);
    root.put("settings", settings.toMap());
    List<Object> entries = new ArrayList<Object>();
    for (PathResult path : paths) {
      entries.add(path.toMap());
    }
    root.put("paths", entries);
    if (thermalBefore != null || thermalAfter != null) {
      Map<String, Object> thermal = new LinkedHashMap<String, Object>();
      thermal.put("before", thermalBefore);
      thermal.put("after", thermalAfter);
      root.put("thermal", thermal);
    }
    root.put("drift", drift);
    root.put("throttled", throttled);
    root.put("peak_memory_bytes", peakMemoryBytes);
    root.put("log", log);
    return Json.write(root);
  }

  /**
   * Reads what {@link #toJson} or the desktop's {@code dgms bench --json} wrote. Unknown fields of a newer
   * minor version are left out.
   *
   * @throws FormatException the text is no such JSON; the message says where
   */
  public static BenchmarkResult fromJson(String text) throws FormatException {
    JsonFields root = new JsonFields(Json.parseObject(text), "");
    SchemaVersion.check(root, SCHEMA, MAJOR);
    Builder b = new Builder();
    b.created = root.text("created");
    b.toolName = root.object("tool").text("name");
    b.toolVersion = root.object("tool").text("version");
    b.model = ModelFileInfo.fromJson(root.object("model"));
    b.dense = root.has("dense") ? ModelFileInfo.fromJson(root.object("dense")) : null;
    b.machine = MachineInfo.fromJson(root.object("machine"));
    b.runtime = root.text("runtime");
    b.settings = RunSettings.fromJson(root.object("settings"));
    for (JsonFields path : root.objects("paths")) {
      b.paths.add(PathResult.fromJson(path));
    }
    JsonFields thermal = root.objectOrNull("thermal");
    if (thermal != null) {
      b.thermalBefore = thermal.textOrNull("before");
      b.thermalAfter = thermal.textOrNull("after");
    }
    b.drift = root.numberOrNull("drift");
    b.throttled = root.flagOrNull("throttled");
    b.peakMemoryBytes = root.integerOrNull("peak_memory_bytes");
    b.log = root.texts("log");
    return b.build();
  }

  /**
   * Every timed run as comma-separated values: a heading, then path, round (from 1), start and duration in
   * ms.
   */
  public String toCsv() {
    StringBuilder out = new StringBuilder("path,round,start_ms,ms\r\n"); // line ends of RFC 4180
    for (PathResult path : paths) {
      if (path.succeeded()) {
        double[] starts = path.startsMs();
        double[] runs = path.runsMs();
        for (int i = 0; i < runs.length; i++) {
          out.append(path.kind().id()).append(',').append(i + 1).append(',');
          out.append(starts[i]).append(',').append(runs[i]).append("\r\n");
        }
      }
    }
    return out.toString();
  }

  /** Collects a result. */
  static final class Builder {
    String created = utcNow();
    String toolName = TOOL;
    String toolVersion;
    ModelFileInfo model;
    ModelFileInfo dense;
    MachineInfo machine;
    String runtime;
    RunSettings settings;
    List<PathResult> paths = new ArrayList<PathResult>();
    String thermalBefore;
    String thermalAfter;
    Double drift;
    Boolean throttled;
    Long peakMemoryBytes;
    List<String> log = new ArrayList<String>();

    BenchmarkResult build() {
      return new BenchmarkResult(this);
    }

    private static String utcNow() {
      SimpleDateFormat format = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'", Locale.ROOT);
      format.setTimeZone(TimeZone.getTimeZone("UTC"));
      return format.format(new Date());
    }
  }
}
