package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * The models of a folder: those that its {@code models.json} describes, then every other {@code .tflite} file
 * in it.
 */
public final class ModelCatalog {
  /** Name of the description. */
  public static final String INDEX = "models.json";

  private static final String SCHEMA = "dgms-models";
  private static final int MAJOR = 1;
  /**
   * Ending of a dense twin without description: {@code net.dense.tflite} stands beside {@code net.tflite}.
   */
  private static final String DENSE_SUFFIX = ".dense.tflite";

  private ModelCatalog() {}

  /**
   * The models of a folder.
   *
   * <p>A file without description belongs to its name: {@code net.dense.tflite} is the dense twin of {@code
   * net.tflite}.
   *
   * @return described ones in their order, then the others by name; empty for an empty or missing folder
   * @throws FormatException models.json breaks its rules
   * @throws IOException it cannot be read
   */
  public static List<ModelSpec> list(File folder) throws IOException {
    List<ModelSpec> models = new ArrayList<ModelSpec>();
    Set<File> known = new HashSet<File>();
    File index = new File(folder, INDEX);
    if (index.isFile()) {
      for (ModelSpec model : parse(Files.readText(index), folder)) {
        models.add(model);
        known.add(model.file());
        known.add(model.denseFile());
      }
    }
    File[] files = folder.listFiles();
    if (files == null) {
      return models;
    }
    Arrays.sort(files);
    for (File file : files) {
      String name = file.getName();
      if (file.isFile() && !known.contains(file) && name.endsWith(".tflite") && !isTwin(file)) {
        File dense = new File(folder, name.substring(0, name.length() - ".tflite".length()) + DENSE_SUFFIX);
        models.add(ModelSpec.ofFiles(file, dense.isFile() ? dense : null));
      }
    }
    return models;
  }

  private static boolean isTwin(File file) {
    String name = file.getName();
    if (!name.endsWith(DENSE_SUFFIX)) {
      return false;
    }
    String model = name.substring(0, name.length() - DENSE_SUFFIX.length()) + ".tflite";
    return new File(file.getParentFile(), model).isFile();
  }

  /**
   * The model of that name, or the one that a path names.
   *
   * @return null if there is none
   */
  public static ModelSpec find(List<ModelSpec> models, String nameOrPath) {
    for (ModelSpec model : models) {
      if (model.name().equals(nameOrPath)) {
        return model;
      }
    }
    File file = new File(nameOrPath);
    return file.isFile() ? ModelSpec.ofFile(file) : null;
  }

  /**
   * Reads the text of a models.json.
   *
   * @param folder what its file names are relative to; the files need not exist
   * @throws FormatException the text breaks a rule; the message says where
   */
  public static List<ModelSpec> parse(String text, File folder) throws FormatException {
    JsonFields root = new JsonFields(Json.parseObject(text), "");
    SchemaVersion.check(root, SCHEMA, MAJOR);
    List<ModelSpec> models = new ArrayList<ModelSpec>();
    Set<String> names = new HashSet<String>();
    for (JsonFields entry : root.objects("models")) {
      ModelSpec model = model(entry, folder);
      if (!names.add(model.name())) {
        throw new FormatException(
            entry.place("name") + " must be unique. Received: " + model.name() + " twice");
      }
      models.add(model);
    }
    return models;
  }

  private static ModelSpec model(JsonFields entry, File folder) throws FormatException {
    String name = entry.text("name");
    if (!name.matches("[A-Za-z0-9._-]+")) {
      throw new FormatException(
          entry.place("name") + " must be of letters, digits, . _ -. Received: \"" + name + "\"");
    }
    ModelSpec.Builder model = new ModelSpec.Builder(name, inside(entry, "file", folder));
    model.title = entry.has("title") ? entry.text("title") : name;
    model.denseFile = entry.has("dense_file") ? inside(entry, "dense_file", folder) : null;
    Long bits = entry.integerOrNull("bits");
    model.bits = bits == null ? null : Integer.valueOf((int) (long) bits);
    model.activations = entry.textOrNull("activations");
    JsonFields accuracy = entry.objectOrNull("accuracy");
    if (accuracy != null) {
      model.top1 = accuracy.number("top1");
      model.top1Images = (int) accuracy.integer("images");
    }
    model.labels = entry.texts("labels");
    model.input = entry.has("input") ? input(entry.object("input")) : null;
    model.samples = samples(entry, folder);
    return model.build();
  }

  private static ModelSpec.Input input(JsonFields input) throws FormatException {
    int[] shape = input.sizes("shape");
    String dtype = input.text("dtype");
    long channels = input.integer("channels");
    if (shape.length != 4 || shape[0] != 1 || shape[3] != channels || (channels != 1 && channels != 3)) {
      throw new FormatException(
          input.place("shape")
              + " must be [1, height, width, channels] with 1 or 3 channels, as `channels` says. Received: "
              + Arrays.toString(shape) + " and channels " + channels);
    }
    if (!dtype.equals("float32") && !dtype.equals("int8")) {
      throw new FormatException(input.place("dtype") + " must be float32 or int8. Received: " + dtype);
    }
    return new ModelSpec.Input(shape, dtype, input.number("scale"), input.number("offset"), (int) channels);
  }

  private static List<ModelSpec.Sample> samples(JsonFields entry, File folder) throws FormatException {
    List<ModelSpec.Sample> samples = new ArrayList<ModelSpec.Sample>();
    for (JsonFields sample : entry.objects("samples")) {
      Long label = sample.integerOrNull("label");
      if (label != null && label < 0) {
        throw new FormatException(sample.place("label") + " must be at least 0. Received: " + label);
      }
      samples.add(
          new ModelSpec.Sample(
              inside(sample, "file", folder), label == null ? null : Integer.valueOf((int) (long) label)));
    }
    return Collections.unmodifiableList(samples);
  }

  /** A file name of the description, which may not lead out of the folder. */
  private static File inside(JsonFields fields, String key, File folder) throws FormatException {
    String name = fields.text(key);
    if (name.isEmpty() || name.startsWith("/") || Arrays.asList(name.split("/")).contains("..")) {
      throw new FormatException(
          fields.place(key) + " must be a name relative to models.json, inside its folder. Received: \""
              + name + "\"");
    }
    return new File(folder, name);
  }
}
