package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a benchmark ran on; the header of every result. Immutable. */
public final class MachineInfo {
  private final Map<String, Object> fields;

  private MachineInfo(Map<String, Object> fields) {
    this.fields = Collections.unmodifiableMap(new LinkedHashMap<String, Object>(fields));
  }

  /** "phone" or "desktop". */
  public String kind() {
    return (String) fields.get("kind");
  }

  /** Manufacturer and model of a phone, host name of a desktop. */
  public String name() {
    return (String) fields.get("name");
  }

  /** The processor's own name, or "". */
  public String processor() {
    return (String) fields.get("processor");
  }

  /** Such as "aarch64" or "x86_64". */
  public String architecture() {
    return (String) fields.get("architecture");
  }

  /** Logical cores. */
  public int cores() {
    return ((Number) fields.get("cores")).intValue();
  }

  /** Kernel sets of the delegate that this processor can run; empty without the native library. */
  public List<String> features() {
    List<String> texts = new ArrayList<String>();
    for (Object feature : (List<?>) fields.get("features")) {
      texts.add((String) feature);
    }
    return texts;
  }

  /** The kernel set that the delegate chooses here, or null without the native library. */
  public String kernelSet() {
    return (String) fields.get("kernel_set");
  }

  /** Operating system and version. */
  public String system() {
    return (String) fields.get("system");
  }

  /** Manufacturer and model of the system on a chip, or null if unknown. */
  public String soc() {
    return (String) fields.get("soc");
  }

  /** The fields as the schema of results has them, in its order. */
  Map<String, Object> toMap() {
    return fields;
  }

  static MachineInfo fromJson(JsonFields json) throws FormatException {
    json.text("kind");
    json.text("name");
    json.text("processor");
    json.text("architecture");
    json.integer("cores");
    json.texts("features");
    json.textOrNull("kernel_set");
    json.text("system");
    json.textOrNull("soc");
    Map<String, Object> fields = new LinkedHashMap<String, Object>();
    for (String key : Builder.KEYS) { // the schema's order; fields of newer minor versions go after them
      if (json.map().containsKey(key)) {
        fields.put(key, json.map().get(key));
      }
    }
    for (Map.Entry<String, Object> field : json.map().entrySet()) {
      fields.put(field.getKey(), field.getValue());
    }
    if (!fields.containsKey("features")) {
      fields.put("features", Collections.emptyList());
    }
    return new MachineInfo(fields);
  }

  /**
   * Collects what is known; what every system tells in the same way is filled in by {@link
   * #Builder(CpuTopology)}.
   */
  public static final class Builder {
    static final String[] KEYS = {
      "kind", "name", "processor", "architecture", "cores", "features", "kernel_set", "system", "soc",
      "android_api", "abi", "core_max_mhz", "memory_bytes", "java"
    };

    private final Map<String, Object> values = new LinkedHashMap<String, Object>();

    /** Starts with the processor, the cores, their frequencies, the memory and the system's own name. */
    public Builder(CpuTopology topology) {
      values.put("processor", ProcFiles.processorName());
      values.put("architecture", architectureName());
      values.put("cores", topology.cores());
      values.put("features", Collections.emptyList());
      values.put("core_max_mhz", topology.maxMhz());
      values.put("memory_bytes", ProcFiles.memoryBytes());
      values.put("system", System.getProperty("os.name") + " " + System.getProperty("os.version"));
    }

    private static String architectureName() {
      String name = System.getProperty("os.arch");
      return "amd64".equals(name) ? "x86_64" : name;
    }

    /** "phone" or "desktop", and what it is called. */
    public Builder setKind(String kind, String name) {
      if (!kind.equals("phone") && !kind.equals("desktop")) {
        throw new IllegalArgumentException(
            "the kind of a machine must be phone or desktop. Received: " + kind);
      }
      values.put("kind", kind);
      values.put("name", name);
      return this;
    }

    /**
     * What the delegate's library says about this processor.
     *
     * @param features kernel sets that can run here; empty without the library
     * @param kernelSet the chosen one; null without the library
     */
    public Builder setDelegate(List<String> features, String kernelSet) {
      values.put("features", new ArrayList<String>(features));
      values.put("kernel_set", kernelSet);
      return this;
    }

    /** Operating system and version, where the Java properties do not tell them well. */
    public Builder setSystem(String system) {
      values.put("system", system);
      return this;
    }

    /**
     * What Android tells.
     *
     * @param soc manufacturer and model of the chip, or null
     * @param api the API level
     * @param abi the ABI that the app runs in
     */
    public Builder setAndroid(String soc, int api, String abi) {
      values.put("soc", soc);
      values.put("android_api", api);
      values.put("abi", abi);
      return this;
    }

    /** Version of a desktop's Java virtual machine. */
    public Builder setJava(String version) {
      values.put("java", version);
      return this;
    }

    /** The machine. The kind must have been set. */
    public MachineInfo build() {
      if (!values.containsKey("kind")) {
        throw new IllegalStateException("a machine needs its kind and name. Received: neither");
      }
      Map<String, Object> ordered = new LinkedHashMap<String, Object>();
      for (String key : KEYS) {
        if (values.containsKey(key) || key.equals("kernel_set")) {
          ordered.put(key, values.get(key));
        }
      }
      return new MachineInfo(ordered);
    }
  }
}
