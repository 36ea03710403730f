import { frame } from "./page.js";

frame("settings");
